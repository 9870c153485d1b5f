"""Checkpoints of the authors' own code (github.com/KaihuaTang/Long-Tailed-Recognition.pytorch) become bundles.

pickled.py      a torch file's tensors, numbers and arrays, without running what is pickled
checkpoint.py   their layout: which network, its weights, class weights, mean feature
class_list.py   names and training counts of the classes, which their files lack
presets.py      pictures and alpha by data set, as in their configuration files
importing.py    all of it together, and what is printed
command.py      the command line
"""
