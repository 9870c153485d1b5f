"""Own pictures to a served bundle in minutes: a frozen pretrained backbone, and a head trained on its features."""
