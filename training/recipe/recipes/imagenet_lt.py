"""ImageNet-LT as in the paper: ResNeXt-50, 90 epochs, 115,846 images of 1,000 classes.

uv run --group train torchrun --nproc-per-node 4 -m training train imagenet-lt --data ImageNet_LT_train.txt \
  --test ImageNet_LT_test.txt --images imagenet --out runs/imagenet-lt

The paper reports 62.7 / 48.8 / 31.6 / 51.8 % (many / medium / few / all) at its α = 3, which is the
operating point `authors`. This project has not run the recipe at full size: a test runs it end to end on a tiny set in
the same format.
"""

from training.recipe.recipe import Recipe

RECIPE = Recipe(
    name="imagenet-lt",
    network="resnext50_32x4d",
    height=224,
    width=224,
    resize=256,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    imbalance_ratio=None,
    epochs=90,
    batch_size=512,
    learning_rate=0.2,
    warmup_epochs=0.0,
    schedule="cosine",
    crop_padding=0,
    random_resized_crop=True,
    color_jitter=0.4,
    authors_alpha=3.0,
)
