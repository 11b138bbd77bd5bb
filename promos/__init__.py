"""Promo codes: who may redeem which code, how often, and what it gives."""
