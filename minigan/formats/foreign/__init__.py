"""What others made, in whatever form it comes: images of every kind, arrays, weights of Keras and TensorFlow."""
