"""Small changes of meaning, made to a copy of the project one at a time: do its tests notice?"""
