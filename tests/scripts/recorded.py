"""A recorded table of the ISIC Archive: made-up rows in the columns that its client writes."""

from pathlib import Path

from isic_table import read

RECORDED = Path(__file__).with_name("isic_metadata_recorded.csv")
ROWS = read(RECORDED)
BY_CLASS = {
    "actinic keratosis": 2,
    "basal cell carcinoma": 2,
    "dermatofibroma": 2,
    "melanoma": 5,
    "nevus": 5,
    "pigmented benign keratosis": 2,
    "seborrheic keratosis": 2,
    "squamous cell carcinoma": 3,
    "vascular lesion": 3,
}
PHOTOGRAPHS = sum(BY_CLASS.values())
