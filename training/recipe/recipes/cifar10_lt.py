"""CIFAR-10-LT with the paper's own hyper-parameters: ResNet-32, crop and flip, 200 epochs.

uv run --group train python -m training train cifar10-lt --data cifar10-lt.zip --out runs/cifar10-lt

The paper reports 80.6 % top-1 at imbalance ratio 100 with TDE for the best epoch on the test set; this project
reports the last epoch.
"""

from training.recipe.recipe import Recipe

RECIPE = Recipe(name="cifar10-lt")
