"""What processes are spared: nothing that works without is missing afterwards."""

import gc
import os
import subprocess
import sys
import textwrap
from pathlib import Path

from dermaspark import sparing
from dermaspark.sparing import spared


def run(program: str) -> str:
    """In a process of its own: what is imported and frozen there stays there."""
    environment = {**os.environ, "PYTHONPATH": str(Path(sparing.__file__).parents[1])}
    command = [sys.executable, "-c", textwrap.dedent(program)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_keras_comes_without_its_drawings_which_can_be_imported_afterwards():
    program = """
        import os, sys
        os.environ.update(CUDA_VISIBLE_DEVICES="", TF_CPP_MIN_LOG_LEVEL="3")
        from dermaspark.sparing import sparing_imports
        with sparing_imports():
            import keras
        print([name in sys.modules for name in ("keras", "matplotlib", "sklearn")])
        import matplotlib.pyplot, sklearn.base
    """
    assert run(program) == "[True, False, False]"


def test_what_was_imported_before_stays_imported():
    program = """
        import sklearn, sys
        from dermaspark.sparing import sparing_imports
        with sparing_imports():
            pass
        print(sys.modules["sklearn"] is sklearn, "matplotlib" in sys.modules)
    """
    assert run(program) == "True False"


def test_the_collector_passes_over_imports_once_and_works_afterwards():
    program = """
        import gc, weakref
        from dermaspark import sparing
        sparing.leave_out_imports()
        frozen = gc.get_freeze_count()
        sparing.leave_out_imports()
        again = gc.get_freeze_count()
        import xml.dom.minidom
        sparing.leave_out_imports()
        class Loop: pass
        loop = Loop()
        loop.self, gone = loop, weakref.ref(loop)
        del loop
        gc.collect()
        print(frozen > 0, again <= frozen, gc.get_freeze_count() > frozen, gc.isenabled(), gone() is None)
    """
    assert run(program) == "True True True True True"


def test_memory_that_was_freed_is_there_for_the_next_arrays():
    program = """
        import resource
        import numpy as np
        from dermaspark.sparing import keep_freed_memory
        def page_faults():
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            for _ in range(10):
                arrays = [np.ones(1 << 20) for _ in range(10)]
                del arrays
            return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
        page_faults()
        usual = page_faults()
        keep_freed_memory()
        page_faults()
        print(usual > 10_000, page_faults() < usual / 100)
    """
    assert run(program) == "True True"


def test_a_spared_function_gives_what_it_gave(spark):
    def double(batches):
        for batch in batches:
            yield batch.assign(id=2 * batch["id"])

    rows = spark.range(5).mapInPandas(spared(double), "id long").collect()
    assert sorted(row["id"] for row in rows) == [0, 2, 4, 6, 8]
    assert gc.isenabled()
