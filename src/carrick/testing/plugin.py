"""The pytest plugin that comes with the package: fixtures for projects that test their functions.

It must stay cheap to import: pytest loads it in every environment that has Carrick installed.
"""
