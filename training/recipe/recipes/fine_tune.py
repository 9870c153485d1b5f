"""Fine-tune a pretrained network on your own pictures: all of it, or all but the stages given to `--freeze`.

uv run --group train python -m training train fine-tune --data pictures --weights resnet50.pth --out runs/mine

`--network` selects any other backbone; image size, mean and standard deviation are then as its publisher states. If
only the head has to learn, `python -m training fit` takes minutes.
"""

from training.recipe.recipe import Recipe

RECIPE = Recipe(
    name="fine-tune",
    network="resnet50",
    pretrained=True,  # so the next five apply only with --set pretrained=False
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
