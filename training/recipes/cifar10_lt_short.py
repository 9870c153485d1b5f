"""CIFAR-10-LT in the time two CPU cores have: the strong recipe, fewer epochs, on small pictures first.

uv run --group train python -m training train cifar10-lt-short --data cifar10-lt.zip --out runs/cifar10-lt-short

Half the batch gives twice the steps per epoch, which a short schedule needs. Pictures of 20 then 24 pixels cost 0.4 and
0.6 of a full one; the last third of the epochs sees all 32 (progressive resizing).
"""

from training.recipe import Recipe

RECIPE = Recipe(
    name="cifar10-lt-short",
    epochs=60,
    batch_size=128,
    schedule="cosine",
    nesterov=True,
    auto_augment=True,
    cutout=16,
    progressive_sizes=((0.0, 20), (0.4, 24), (0.7, 32)),
    evaluate_every=20,
)
