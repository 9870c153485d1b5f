#!/usr/bin/env bash
# Hugging Face's `ClassLabel` takes the name of a class that it does not have for the number of another class.
#
# Expected: `ClassLabel(names=["5", "7", "9"])` refuses the label "1" as it refuses "3" and "cat": there is no such
#   name.
# What happens: a text that is not a name, but a number below the number of classes, is taken for an index: "1" is the
#   class "7". So is "01", and "-1" gives -1, the mark for a picture without a label. No error, no warning; casting a
#   column does the same for a whole data set.
# Why it matters here: classes whose names are numbers are common (iNaturalist's, article numbers), and a data
#   set cut to some of them then takes the pictures of a dropped class into another one. Here a text is always a name,
#   and one that the model does not know is refused; only a number is an index.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check datasets==5.2.0
HF_HOME="$folder" HF_HUB_OFFLINE=1 HF_DATASETS_DISABLE_PROGRESS_BARS=1 "$folder/env/bin/python" - <<'PYTHON'
import sys
from importlib.metadata import version

from datasets import ClassLabel, Dataset

label = ClassLabel(names=["5", "7", "9"])
print("datasets", version("datasets"), label.names)
found = {}
for text in ("5", "7", "1", "01", "-1", "3", "cat"):
    try:
        found[text] = label.str2int(text)
    except ValueError as error:
        found[text] = str(error)
    print(f"str2int({text!r}): {found[text]}")
column = Dataset.from_dict({"label": ["5", "1", "7"]}).cast_column("label", label)["label"][:]
print("a column of '5', '1' and '7' as classes:", [label.int2str(index) for index in column])
indices = [found[text] for text in ("5", "7", "1", "01", "-1")]
as_described = indices == [0, 1, 1, 1, -1] and column == [0, 1, 1] and "Invalid" in str(found["3"])
print("as described" if as_described else "the behaviour has changed")
sys.exit(not as_described)
PYTHON
