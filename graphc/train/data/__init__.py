"""Data: sets by name, files of several kinds, parts of them, normalisation, augmentation."""

from graphc.train.data.augmented import Augmented, augmented
from graphc.train.data.blocks import Arrays, Block, Rows, Source, shuffled
from graphc.train.data.folders import ImageFolder, image_folder
from graphc.train.data.idx import read_idx
from graphc.train.data.labels import categories, one_hot
from graphc.train.data.mapped import open_npy
from graphc.train.data.named import NAMES, SHAPES, load, load_digits
from graphc.train.data.normalisation import Normalisation, normalise
from graphc.train.data.sets import Dataset, dataset
from graphc.train.data.splits import k_folds, split
from graphc.train.data.tables import Table, read_csv, read_npz
from graphc.train.data.text import CharacterCorpus, Windows, text

__all__ = [
    "NAMES",
    "SHAPES",
    "Arrays",
    "Augmented",
    "Block",
    "CharacterCorpus",
    "Dataset",
    "ImageFolder",
    "Normalisation",
    "Rows",
    "Source",
    "Table",
    "Windows",
    "augmented",
    "categories",
    "dataset",
    "image_folder",
    "k_folds",
    "load",
    "load_digits",
    "normalise",
    "one_hot",
    "open_npy",
    "read_csv",
    "read_idx",
    "read_npz",
    "shuffled",
    "split",
    "text",
]
