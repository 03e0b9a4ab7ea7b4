"""The studies that reports are tried on."""

from tests.study.reporting.conftest import root as root
