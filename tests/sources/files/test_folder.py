"""Many files, one answer for each object, whatever the order of events."""

import random  # noqa: TID251  (a seeded shuffle)

from controlplane.sources.files.folder import Folder
from controlplane.sources.files.parser import parse


def service(*names: str, note: str = "") -> str:
    return "---\n".join(
        f"apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, labels: {{note: '{note}'}}}}\n" for name in names
    )


def put(folder: Folder, path: str, text: str) -> set[str]:
    return {ref.name for ref in folder.put(path, parse(text, path))}


def notes(folder: Folder) -> dict[str, str]:
    documents = (folder.document(ref) for ref in folder._claims)
    return {document.ref.name: document.manifest["metadata"]["labels"]["note"] for document in documents if document}


def messages(folder: Folder) -> list[str]:
    return [problem.message for problem in folder.problems()]


def test_only_objects_of_the_file_are_touched() -> None:
    folder = Folder()
    put(folder, "a.yaml", service("a", "b"))
    assert put(folder, "b.yaml", service("c")) == {"c"}
    assert put(folder, "a.yaml", service("b", note="new")) == {"a", "b"}
    assert notes(folder) == {"b": "new", "c": ""}


def test_an_object_in_two_files_is_a_problem_that_names_both_places_and_the_first_wins() -> None:
    folder = Folder()
    put(folder, "b.yaml", service("x", note="b"))
    put(folder, "a.yaml", service("other", "x", note="a"))
    assert notes(folder)["x"] == "a"
    assert messages(folder) == ["defined more than once: a.yaml:5:1 is used, b.yaml:1:1 is not"]
    put(folder, "a.yaml", service("other"))
    assert notes(folder)["x"] == "b"
    assert messages(folder) == []


def test_an_object_twice_in_one_file_is_a_problem_too() -> None:
    folder = Folder()
    put(folder, "a.yaml", service("x", "x"))
    assert messages(folder) == ["defined more than once: a.yaml:1:1 is used, a.yaml:5:1 is not"]


def test_a_broken_file_keeps_its_last_good_objects_and_says_where_it_is_broken() -> None:
    folder = Folder()
    put(folder, "a.yaml", service("x", "y", note="good"))
    put(folder, "a.yaml", service("x", note="newer") + "---\n[")
    assert notes(folder) == {"x": "good", "y": "good"}
    assert messages(folder)[0].startswith("a.yaml:")
    put(folder, "a.yaml", service("x", note="mended"))
    assert notes(folder) == {"x": "mended"}
    assert messages(folder) == []


def test_a_file_broken_in_one_document_updates_the_others_and_removes_nothing() -> None:
    folder = Folder()
    put(folder, "a.yaml", service("x", "y", note="old"))
    put(folder, "a.yaml", service("x", note="new") + "---\nkind: Service\n")
    assert notes(folder) == {"x": "new", "y": "old"}


def test_a_removed_file_takes_its_objects_along() -> None:
    folder = Folder()
    put(folder, "a.yaml", service("x"))
    assert {ref.name for ref in folder.drop("a.yaml")} == {"x"}
    assert notes(folder) == {}
    assert folder.paths() == frozenset()


def test_the_order_of_events_does_not_matter() -> None:
    shuffle = random.Random(7)
    texts = {f"{n}.yaml": service(*shuffle.sample("abcdef", 3), note=str(n)) for n in range(5)}
    answers = []
    for _ in range(10):
        folder = Folder()
        paths = [*texts, *texts]
        shuffle.shuffle(paths)
        for path in paths:
            put(folder, path, texts[path])
            if shuffle.random() < 0.3:
                folder.drop(path)
                put(folder, path, texts[path])
        answers.append((notes(folder), messages(folder)))
    assert all(answer == answers[0] for answer in answers)
    assert answers[0][1]
