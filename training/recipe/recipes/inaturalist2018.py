"""iNaturalist 2018: ResNet-50, 90 epochs, 437,513 images of 8,142 species.

uv run --group train torchrun --nproc-per-node 8 -m training train inaturalist2018 --data train2018.json \
  --test val2018.json --images inaturalist --out runs/inaturalist2018

Length, batch and weight decay follow Kang et al., ICLR 2020 (arXiv:1910.09217); mean and std are those of the data set,
and colours are not changed, as in their code and the authors'. Independent experiments found TDE at the paper's default
α below a plain classifier on this data set (63.9 against 65.0, LADE, CVPR 2021), so choose α with `tune`. This project
has not run the recipe at full size: a test runs it end to end on a tiny set in the same format.
"""

from training.recipe.recipe import Recipe

RECIPE = Recipe(
    name="inaturalist2018",
    network="resnet50",
    height=224,
    width=224,
    resize=256,
    mean=(0.466, 0.471, 0.380),
    std=(0.195, 0.194, 0.192),
    imbalance_ratio=None,
    epochs=90,
    batch_size=512,
    learning_rate=0.2,
    weight_decay=1e-4,
    warmup_epochs=0.0,
    schedule="cosine",
    crop_padding=0,
    random_resized_crop=True,
)
