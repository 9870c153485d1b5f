"""Places-LT: the last stage of a ResNet-152 pretrained on ImageNet, 30 epochs, 62,500 images of 365 classes.

uv run --group train torchrun --nproc-per-node 4 -m training train places-lt --data Places_LT_train.txt \
  --test Places_LT_test.txt --images places365 --weights resnet152.pth --out runs/places-lt

Stages and length follow Kang et al., ICLR 2020 (arXiv:1910.09217). This project has not run the recipe at full
size: a test runs it end to end on a tiny set in the same format.
"""

from training.recipe.recipe import Recipe

RECIPE = Recipe(
    name="places-lt",
    network="resnet152",
    frozen=("conv1", "bn1", "layer1", "layer2", "layer3"),
    height=224,
    width=224,
    resize=256,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    imbalance_ratio=None,
    epochs=30,
    batch_size=256,
    learning_rate=0.05,
    warmup_epochs=0.0,
    schedule="cosine",
    crop_padding=0,
    random_resized_crop=True,
    color_jitter=0.4,
    authors_alpha=3.0,
)
