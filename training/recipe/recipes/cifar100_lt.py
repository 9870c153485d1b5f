"""CIFAR-100-LT with the paper's own hyper-parameters: ResNet-32, crop and flip, 200 epochs.

uv run --group train python -m training train cifar100-lt --data cifar100-lt.zip --out runs/cifar100-lt

The paper reports 44.1 % top-1 at imbalance ratio 100 with TDE for the best epoch on the test set; this project
reports the last epoch.
"""

from training.recipe.recipe import Recipe

RECIPE = Recipe(
    name="cifar100-lt",
    mean=(0.5071, 0.4865, 0.4409),
    std=(0.2673, 0.2564, 0.2762),
)
