"""Labelled pictures: folders, tables, TensorFlow Datasets and data sets in memory."""
