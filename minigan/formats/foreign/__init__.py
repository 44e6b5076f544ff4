"""What others made, in whatever form it comes: files of images of every kind, arrays, Keras' files of weights."""
