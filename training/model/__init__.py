"""The trained model: backbone, head, mean feature direction."""
