"""minigan from Python: what `import minigan` offers, each a function or a class with an example."""
