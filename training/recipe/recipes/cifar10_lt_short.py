"""CIFAR-10-LT for two CPU cores: the strong recipe with fewer epochs, on small images first.

uv run --group train python -m training train cifar10-lt-short --data cifar10-lt.zip --out runs/cifar10-lt-short

Half the batch size gives twice the steps per epoch, which a short schedule needs. Images of 20 and then 24 pixels cost
0.4 and 0.6 of a full one; later epochs use all 32 pixels (progressive resizing). The cosine falls twice: the last 15
epochs start again at a quarter of the learning rate (warm restart).
"""

from training.recipe.recipe import Recipe

RECIPE = Recipe(
    name="cifar10-lt-short",
    epochs=75,
    batch_size=128,
    schedule="cosine",
    restarts=((60, 0.05),),
    nesterov=True,
    auto_augment=True,
    cutout=16,
    progressive_sizes=((0, 20), (24, 24), (42, 32)),
    evaluate_every=15,
)
