"""The tests mirror the folders of minigan; what several of them share lies here."""
