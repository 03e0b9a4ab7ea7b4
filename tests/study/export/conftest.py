"""The studies that reports are tried on."""

from tests.study.reporting.conftest import found as found
from tests.study.reporting.conftest import planted as planted
from tests.study.reporting.conftest import root as root
from tests.study.reporting.conftest import searched as searched
