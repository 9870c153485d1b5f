"""Lists of pictures: text, CSV and COCO JSON files that name the pictures of a data set and their labels."""
