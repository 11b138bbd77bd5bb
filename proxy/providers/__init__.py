"""Adapters: pure translations between our shape and what each kind of provider speaks."""
