"""One's own pictures, from pretrained weights: the whole network learns, or all but the stages given to `--freeze`.

uv run --group train python -m training train fine-tune --data pictures --weights resnet50.pth --out runs/mine

`--network` takes any other backbone; size, mean and std of the pictures are then what its publisher says. Where only
the head needs to learn, `python -m training fit` is done in minutes.
"""

from training.recipe.recipe import Recipe

RECIPE = Recipe(
    name="fine-tune",
    network="resnet50",
    pretrained=True,  # the next five only without; else they are as the network was published
    height=224,
    width=224,
    resize=256,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    imbalance_ratio=None,
    epochs=30,
    batch_size=64,
    learning_rate=0.01,
    weight_decay=1e-4,
    warmup_epochs=1.0,
    schedule="cosine",
    nesterov=True,
    crop_padding=0,
    random_resized_crop=True,
    evaluate_every=5,
)
