"""Where bundles come from: data, networks, heads, the loop, export and evaluation."""
