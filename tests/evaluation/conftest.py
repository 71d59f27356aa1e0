from tests.quick import quick_compilation
from tests.tasks.conftest import real_data

__all__ = ["quick_compilation", "real_data"]
