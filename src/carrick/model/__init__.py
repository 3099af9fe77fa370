"""The words of the domain as types: what every other room passes around, and no behaviour."""
