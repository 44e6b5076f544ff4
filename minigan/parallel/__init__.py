"""More than one process, on one machine or many, by the engines that people have for that."""
