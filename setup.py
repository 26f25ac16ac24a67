"""Packages are found, not listed: the repository's folder is the package netsurgeon, so their names get that prefix."""

from setuptools import find_packages, setup

FOLDERS = ("pipeline", "passes", "models")

found = find_packages(include=[pattern for folder in FOLDERS for pattern in (folder, f"{folder}.*")])
setup(packages=["netsurgeon", *(f"netsurgeon.{package}" for package in found)])
