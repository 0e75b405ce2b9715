"""Laws of text embeddings: once for each text, from a folder, the same numbers in training and in `predict`."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.base import files, weights
from pipeline.competition import text_embeddings
from pipeline.competition.text_embeddings import TextEmbeddings
from pipeline.config.run_report import RunReport
from pipeline.models.run_configuration import load_run_config
from pipeline.nets.sentences import SentenceModel
from tests.conftest import TINY, Toy
from tests.sentence_model import WIDTH, write_sentence_model

pytestmark = pytest.mark.slow  # importing the packages takes seconds

SAID = ["it was a good day for all", "it was a bad day for all of us", "a day was a day"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("sentence_transformers", reason="the extra `text` is not installed")
    return write_sentence_model(tmp_path_factory.mktemp("text") / "tiny")


@pytest.fixture
def talking(toy: Toy, model: Path) -> Toy:
    """The toy with a column of sentences, which decides half of the price, and a model beside its spec."""
    for name in ("train.csv", "test.csv"):
        path = toy.workspace.raw / name
        table = pd.read_csv(path)
        chosen = np.random.default_rng(len(table)).integers(0, 3, len(table))
        table["said"] = [None if i == 5 else SAID[code] for i, code in enumerate(chosen)]
        if "price" in table:
            table["price"] = (table["price"] * np.where(chosen == 1, 9.0, 1.0)).round(2)
        table.to_csv(path, index=False)
    shutil.copytree(model, toy.workspace.folder / "models" / "tiny")
    texts = '[columns]\ntexts = ["said"]\n'
    toy.edit_spec("[columns]\n", texts)
    toy.workspace.spec.write_text(toy.workspace.spec.read_text() + '\n[encoder]\ntext_embeddings = "models/tiny"\n')
    return toy


def test_equal_texts_have_equal_numbers_which_are_the_models(model: Path, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    embeddings = TextEmbeddings(model, tmp_path / "cache", "cpu")
    column = pd.Series([*SAID, None, SAID[0]], dtype="str")
    embeddings.prepare([column])
    frame, roles = embeddings.with_embeddings(pd.DataFrame({"said": column}), {"said": "text"}, ["said"])
    made = [name for name, role in roles.items() if role == "embedding"]
    assert made == [f"said embedding {number}" for number in range(WIDTH)]
    expected = SentenceTransformer(str(model), device="cpu").encode([*SAID, "", SAID[0]], show_progress_bar=False)
    np.testing.assert_allclose(frame[made].to_numpy(), expected, atol=1e-5)
    assert len(frame[made].drop_duplicates()) == 4


def test_texts_are_embedded_once_and_a_killed_call_goes_on(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_embeddings, "CHUNK", 2)
    monkeypatch.setattr("pipeline.nets.sentences.cpu_count", lambda: 1)
    embedded: list[str] = []
    vectors = SentenceModel.vectors

    def counted(self: SentenceModel, texts: list[str]) -> text_embeddings.Vectors:
        embedded.extend(texts)
        if len(embedded) == 4:
            raise KeyboardInterrupt
        return vectors(self, texts)

    monkeypatch.setattr(SentenceModel, "vectors", counted)
    columns = [pd.Series([*SAID, *SAID], dtype="str"), pd.Series([SAID[0], "of us"], dtype="str")]
    with pytest.raises(KeyboardInterrupt):
        TextEmbeddings(model, tmp_path / "cache", "cpu").prepare(columns)
    again = TextEmbeddings(model, tmp_path / "cache", "cpu")
    again.prepare(columns)
    assert sorted(embedded) == sorted([*SAID, "of us", *sorted([*SAID, "of us"])[2:]])
    monkeypatch.setattr(SentenceModel, "vectors", None)
    fresh = TextEmbeddings(model, tmp_path / "cache", "cpu")
    fresh.prepare(columns)
    for text in SAID:
        np.testing.assert_array_equal(fresh.known[text], again.known[text])


def test_threads_do_not_change_a_bit(model: Path, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    before, column = torch.get_num_threads(), pd.Series([f"{text} {i % 7}" for i, text in enumerate(SAID * 50)])
    found = []
    for number in (1, 4):
        torch.set_num_threads(number)
        embeddings = TextEmbeddings(model, tmp_path / f"cache-{number}", "cpu")
        embeddings.prepare([column])
        assert torch.get_num_threads() == number
        found.append(np.stack([*embeddings.known.values()]))
    torch.set_num_threads(before)
    np.testing.assert_array_equal(*found)


def test_another_model_does_not_read_the_cache_of_the_first(model: Path, tmp_path: Path) -> None:
    other = write_sentence_model(tmp_path / "other", seed=1)
    vectors = []
    for folder in (model, other):
        embeddings = TextEmbeddings(folder, tmp_path / "cache", "cpu")
        embeddings.prepare([pd.Series(SAID, dtype="str")])
        vectors.append(embeddings.known[SAID[0]])
    assert not np.allclose(*vectors)


@pytest.mark.parametrize("name", ["ridge", "lightgbm", "mlp"])
def test_every_kind_of_model_reads_them_and_predict_makes_the_same(talking: Toy, tmp_path: Path, name: str) -> None:
    options = TINY if name == "mlp" else ["--model", name, *TINY[-4:]]
    result = talking.run("final", *options)
    assert result.exit_code == 0, result.output
    assert "text embeddings: 4 texts by tiny (cpu)" in result.stderr
    run = talking.only_run()
    made = {name: share for name, share in _importance(talking).items() if "embedding" in name}
    assert name == "mlp" or (len(made) == WIDTH and sum(made.values()) > 0.1)
    table = pd.read_csv(talking.workspace.raw / "test.csv")
    table.to_csv(tmp_path / "new.csv", index=False)
    result = talking.run("predict", run.name, str(tmp_path / "new.csv"))
    assert result.exit_code == 0, result.output
    predicted = pd.read_csv(tmp_path / f"new-{run.name}.csv")
    submitted = pd.read_csv(talking.submission())
    np.testing.assert_allclose(predicted["price"], submitted["price"], rtol=1e-5)
    table.assign(said="it was good for us all of it").to_csv(tmp_path / "other.csv", index=False)
    assert talking.run("predict", run.name, str(tmp_path / "other.csv")).exit_code == 0
    other = pd.read_csv(tmp_path / f"other-{run.name}.csv")
    assert not np.allclose(other["price"], submitted["price"], rtol=1e-3)


def _importance(toy: Toy) -> dict[str, float]:
    report = RunReport.read(toy.only_run().report)
    return report.parts[0].feature_importance


def test_a_run_depends_on_the_models_files_not_on_their_place(
    talking: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert talking.run("features").exit_code == 0
    config = load_run_config(model="ridge")
    before = talking.store().fingerprint(config)
    folder = talking.workspace.folder / "models"
    shutil.move(folder, tmp_path / "elsewhere")
    assert talking.store().fingerprint(config) != before
    monkeypatch.setenv(weights.VARIABLE, str(tmp_path))
    assert talking.store().fingerprint(config) == before
    talking.edit_spec("models/tiny", str(tmp_path / "elsewhere" / "tiny"))
    assert talking.store().fingerprint(config) == before
    config_file = tmp_path / "elsewhere" / "tiny" / "config.json"
    files.write_text(config_file, config_file.read_text() + " ")
    assert talking.store().fingerprint(config) != before


def test_without_the_key_nothing_changes(toy: Toy) -> None:
    """Runs of before the key stay up to date."""
    assert toy.run("features").exit_code == 0
    inputs = toy.store().inputs(load_run_config(model="ridge"))
    assert "the text model" not in inputs
    assert inputs["encoder in the spec"] == {"scope": "train", "pixels": False}


def test_mistakes_are_one_message_before_anything_is_made(talking: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("the network was used"))
    spec = talking.workspace.spec.read_text()

    def message() -> str:
        result = talking.run("submit", *TINY)
        assert result.exit_code == 2, result.output
        assert not list(talking.workspace.runs.glob("*/report.json"))
        return " ".join(result.stderr.split())

    talking.workspace.spec.write_text(spec.replace("models/tiny", "sentence-transformers/all-MiniLM-L6-v2"))
    assert "the folder 'sentence-transformers/all-MiniLM-L6-v2' does not exist" in message()
    assert "nothing is downloaded" in message()
    talking.workspace.spec.write_text(spec.replace("models/tiny", "raw"))
    assert "is not the folder of a sentence-transformers model" in message()
    talking.workspace.spec.write_text(spec)
    broken = talking.workspace.folder / "models" / "tiny" / "model.safetensors"
    content = broken.read_bytes()
    broken.write_bytes(content[:100])
    assert "cannot be read as a sentence-transformers model" in message()
    broken.write_bytes(content)
    talking.workspace.spec.write_text(spec.replace('texts = ["said"]', 'texts = ["town"]\ndrop = ["said"]'))
    assert "no column holds sentences" in message()
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert "pip install -e '.[text]'" in message()
