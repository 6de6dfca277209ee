"""The notebook: it looks and defines nothing, is stored clean, and runs from its first cell to its last."""

import ast
import shutil
import sys
from pathlib import Path

import nbformat
import pytest
from ipykernel.kernelspec import write_kernel_spec
from nbclient import NotebookClient
from nbformat import NotebookNode

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "exploration.ipynb"
PICTURES = ("class counts", "samples", "augmented copies", "sizes", "colours", "leak", "conflict", "canary")
SECONDS_PER_CELL = 400  # the audit takes some 100 s where other work has the cores


@pytest.fixture
def notebook() -> NotebookNode:
    return nbformat.read(NOTEBOOK, as_version=4)


@pytest.fixture
def flawed(source, tmp_path) -> Path:
    """The drawn photographs, with one of Train in Test too, and another one under two classes."""
    folder = shutil.copytree(source, tmp_path / "flawed")
    shutil.copy(folder / "Train/nevus/nev_Train_000.jpg", folder / "Test/nevus/leak.jpg")
    shutil.copy(folder / "Train/melanoma/mel_Train_001.jpg", folder / "Train/nevus/conflict.jpg")
    return folder


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_it_is_stored_as_it_was_written_not_as_it_was_run(notebook):
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code_cells(notebook))


def test_it_defines_nothing(notebook):
    definitions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
    nodes = [node for cell in code_cells(notebook) for node in ast.walk(ast.parse(cell.source))]
    assert nodes and not [ast.unparse(node) for node in nodes if isinstance(node, definitions)]


@pytest.mark.timeout(600)
def test_it_runs_and_shows_what_there_is_to_see(notebook, flawed, tmp_path, monkeypatch):
    # A kernel of this very Python, whatever other kernels the user has under this name.
    write_kernel_spec(str(tmp_path / "jupyter" / "kernels" / "python3"))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("DERMASPARK_PHOTOGRAPHS", str(flawed))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.delenv("MPLBACKEND", raising=False)
    probe = nbformat.v4.new_code_cell("import sys; print(sys.executable)")
    notebook.cells.append(probe)

    started_in = {"metadata": {"path": str(NOTEBOOK.parent)}}
    done = NotebookClient(notebook, timeout=SECONDS_PER_CELL, kernel_name="python3", resources=started_in).execute()

    outputs = [output for cell in code_cells(done) for output in cell.outputs]
    text = "".join(output.text for output in outputs if output.output_type == "stream" and output.name == "stdout")
    assert "140 photographs in 3 classes" in text
    assert "leaks: flawed/Test/nevus/leak.jpg and flawed/Train/nevus/nev_Train_000.jpg" in text
    assert "conflicts: flawed/Train/melanoma/mel_Train_001.jpg and flawed/Train/nevus/conflict.jpg" in text
    assert sum("image/png" in output.get("data", {}) for output in outputs) == len(PICTURES)
    assert text.endswith(f"{sys.executable}\n")
    assert not list(tmp_path.glob("dermaspark-*"))  # nothing stays behind
