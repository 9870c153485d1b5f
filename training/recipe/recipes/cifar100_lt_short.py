"""CIFAR-100-LT for two CPU cores: the strong recipe with fewer epochs, on small images first.

uv run --group train python -m training train cifar100-lt-short --data cifar100-lt.zip --out runs/cifar100-lt-short

Half the batch size gives twice the steps per epoch, which a short schedule needs. Images of 20 and then 24 pixels cost
0.4 and 0.6 of a full one; later epochs use all 32 pixels (progressive resizing). The cosine falls twice: the last 17
epochs start again at a quarter of the learning rate (warm restart).
"""

from training.recipe.recipe import Recipe

RECIPE = Recipe(
    name="cifar100-lt-short",
    epochs=87,
    batch_size=128,
    schedule="cosine",
    restarts=((70, 0.05),),
    nesterov=True,
    auto_augment=True,
    cutout=16,
    progressive_sizes=((0, 20), (28, 24), (49, 32)),
    mean=(0.5071, 0.4865, 0.4409),
    std=(0.2673, 0.2564, 0.2762),
    evaluate_every=20,
)
