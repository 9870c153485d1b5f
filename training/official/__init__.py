"""Importing checkpoints of the authors' code, github.com/KaihuaTang/Long-Tailed-Recognition.pytorch.

torch_file.py   reads the tensors, numbers and arrays of a torch file without running pickled code
checkpoint.py   the layout of the authors' checkpoints: network, weights, class weights, mean feature
class_list.py   reads the names and training counts of the classes, which the checkpoints lack
presets.py      preprocessing and alpha by data set, from the authors' configuration files
importing.py    builds and describes the bundle
command.py      the command line
"""
