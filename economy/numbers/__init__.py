"""Integers, floats and random numbers that every machine computes alike."""
