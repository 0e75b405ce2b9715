"""Make `pipeline/competition/samples/house_prices.parquet`: a simulated House Prices competition.

    python benchmarks/make_house_prices_sample.py

SIMULATED, NOT DATA FROM KAGGLE: no row and no exact frequency is taken from the real files. The words are
those of its public data_description.txt, as the CSV files spell them; the numbers are round, written by hand.

Each block below reads the columns drawn so far and returns the ones it adds. Kaggle's columns go by Kaggle's
names. What only the simulation knows of a house, like its true quality, is in lower case and not returned.
"""

from __future__ import annotations

from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]
Columns = dict[str, Array]

FILE = Path(__file__).parents[1] / "pipeline/competition/samples/house_prices.parquet"
N_TRAIN_ROWS = 1460
N_ROWS = 2919
SEED = 20160830

COLUMNS = [
    "Id", "MSSubClass", "MSZoning", "LotFrontage", "LotArea", "Street", "Alley", "LotShape", "LandContour",
    "Utilities", "LotConfig", "LandSlope", "Neighborhood", "Condition1", "Condition2", "BldgType",
    "HouseStyle", "OverallQual", "OverallCond", "YearBuilt", "YearRemodAdd", "RoofStyle", "RoofMatl",
    "Exterior1st", "Exterior2nd", "MasVnrType", "MasVnrArea", "ExterQual", "ExterCond", "Foundation",
    "BsmtQual", "BsmtCond", "BsmtExposure", "BsmtFinType1", "BsmtFinSF1", "BsmtFinType2", "BsmtFinSF2",
    "BsmtUnfSF", "TotalBsmtSF", "Heating", "HeatingQC", "CentralAir", "Electrical", "1stFlrSF", "2ndFlrSF",
    "LowQualFinSF", "GrLivArea", "BsmtFullBath", "BsmtHalfBath", "FullBath", "HalfBath", "BedroomAbvGr",
    "KitchenAbvGr", "KitchenQual", "TotRmsAbvGrd", "Functional", "Fireplaces", "FireplaceQu", "GarageType",
    "GarageYrBlt", "GarageFinish", "GarageCars", "GarageArea", "GarageQual", "GarageCond", "PavedDrive",
    "WoodDeckSF", "OpenPorchSF", "EnclosedPorch", "3SsnPorch", "ScreenPorch", "PoolArea", "PoolQC", "Fence",
    "MiscFeature", "MiscVal", "MoSold", "YrSold", "SaleType", "SaleCondition", "SalePrice",
]  # fmt: skip

# weight: share of sales. level: log-price offset of the location. quality, year, lot, living: typical there.
# spread: standard deviation of the year built. townhouse: share of attached houses.
NEIGHBORHOODS = pd.read_csv(
    StringIO("""
        name    weight zoning  level quality year spread   lot living townhouse
        NAmes       15     RL  -0.03     5.2 1960      7  9800   1250      0.00
        CollgCr     10     RL   0.02     6.5 2000      9  9200   1500      0.08
        OldTown      8     RM  -0.12     5.2 1922     20  7500   1400      0.00
        Edwards      7     RL  -0.10     4.9 1956     20  9300   1250      0.05
        Somerst      6     FV   0.05     7.1 2005      3  8500   1600      0.25
        Gilbert      5     RL   0.00     6.6 1999      5 10000   1620      0.02
        NridgHt      5     RL   0.13     8.2 2006      2 11500   1850      0.25
        Sawyer       5     RL  -0.04     5.1 1964      8  9700   1150      0.00
        NWAmes       5     RL   0.00     6.2 1976      5 11200   1650      0.00
        SawyerW      4     RL   0.00     6.2 1989     12  9500   1500      0.05
        BrkSide      4     RM  -0.06     5.1 1930     12  6400   1200      0.00
        Crawfor      4     RL   0.09     6.2 1942     18 10800   1700      0.06
        Mitchel      3     RL  -0.02     5.5 1982     11  9800   1280      0.12
        NoRidge      3     RL   0.13     7.9 1995      3 12500   2400      0.00
        Timber       3     RL   0.06     7.1 1994     12 13500   1700      0.00
        IDOTRR       3     RM  -0.17     4.7 1926     17  7800   1150      0.00
        ClearCr      2     RL   0.06     6.0 1966     12 18000   1700      0.00
        StoneBr      2     RL   0.14     8.1 2000      5  9000   1800      0.40
        SWISU        2     RL  -0.06     5.5 1926     11  7500   1600      0.00
        MeadowV    1.2     RM  -0.19     4.5 1973      3  2000   1080      0.95
        Blmngtn    1.0     RL   0.01     7.1 2005      2  3200   1430      0.95
        BrDale     1.0     RM  -0.15     5.8 1971      2  1700   1120      1.00
        Veenker    0.8     RL   0.08     6.7 1977      6 12500   1550      0.15
        NPkVill    0.7     RL  -0.05     6.0 1977      2  2400   1270      0.95
        Blueste    0.4     RM  -0.06     6.2 1980      2  1700   1370      1.00
    """),
    sep=r"\s+",
    index_col="name",
)


def make_house_prices_tables(seed: int = SEED) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return (train, labelled test): Ids 1..1460 and 1461..2919, Kaggle's 81 columns in Kaggle's order.

    What Kaggle's CSV files write as NA is NaN here; the word "None" of `MasVnrType` is a category. Types are
    those that `read_csv` finds in the real files: a few counts and areas are int in train and float in test.
    """
    dice = _Dice(np.random.default_rng(seed))
    house = {"Id": np.arange(1, N_ROWS + 1), **_setting(dice)}
    for block in (_lot, _shell, _exterior, _floors, _basement, _interior, _garage, _outdoors, _sale, _price):
        house |= block(dice, house)

    table = pd.DataFrame({name: house[name] for name in COLUMNS})
    train, test = table[:N_TRAIN_ROWS].copy(), table[N_TRAIN_ROWS:].reset_index(drop=True)
    _forget(dice, train, {"Electrical": 1, "MasVnrType MasVnrArea": 8, "BsmtExposure": 1, "BsmtFinType2": 1})
    _forget(dice, test, {
        "MSZoning": 4, "Utilities": 2, "Exterior1st Exterior2nd": 1, "MasVnrType MasVnrArea": 15,
        "MasVnrType": 1, "BsmtCond": 3, "BsmtQual": 2, "BsmtExposure": 2,
        "BsmtFinSF1 BsmtFinSF2 BsmtUnfSF TotalBsmtSF": 1, "BsmtFullBath BsmtHalfBath": 2, "KitchenQual": 1,
        "Functional": 2, "GarageCars GarageArea": 1, "SaleType": 1,
    })  # fmt: skip
    return train, test


def _setting(dice: _Dice) -> Columns:
    """Draw where and when: neighbourhood, years, era (see `_Dice.choose`), true quality (1..10)."""
    drawn = NEIGHBORHOODS.loc[dice.choose(NEIGHBORHOODS["weight"].to_dict())]
    typical = {name: drawn[name].to_numpy() for name in drawn.columns}

    year_sold = dice.choose({2006: 21, 2007: 23, 2008: 21, 2009: 23, 2010: 12}).astype(np.int64)
    year_built = _whole(typical["year"] + typical["spread"] * dice.normal(), 1872, year_sold)
    newer_than_typical = np.clip((year_built - typical["year"]) / 20, -1.5, 1.5)
    monthly = {1: 4, 2: 4, 3: 7, 4: 10, 5: 14, 6: 17, 7: 16, 8: 8, 9: 5, 10: 6, 11: 5, 12: 4}
    return {
        **{f"typical_{name}": values for name, values in typical.items()},
        "Neighborhood": drawn.index.to_numpy(),
        "YrSold": year_sold,
        "MoSold": dice.choose(monthly).astype(np.int64),
        "YearBuilt": year_built,
        "age": year_sold - year_built,
        "era": np.digitize(year_built, [1946, 1960, 1985]),
        "quality": typical["quality"] + 0.4 * newer_than_typical + dice.normal(0.75),
        "is_townhouse": dice.happens(typical["townhouse"]),
    }


def _lot(dice: _Dice, house: Columns) -> Columns:
    era, is_townhouse = house["era"], house["is_townhouse"]
    slope = dice.choose({"Gtl": 95, "Mod": 4, "Sev": np.where(house["typical_lot"] > 10000, 1.5, 0.2)})
    is_steep = slope != "Gtl"
    typical_area = np.where(is_townhouse, np.minimum(house["typical_lot"], 3000), house["typical_lot"])
    area = typical_area * np.exp(np.where(is_steep, 0.4 + dice.normal(0.5), dice.normal(0.24)))

    config = dice.choose({"Inside": 72, "Corner": 18, "CulDSac": (0, 3, 9, 9), "FR2": 3, "FR3": 0.3}, era)
    is_cul_de_sac = config == "CulDSac"
    width_to_depth = np.select([is_cul_de_sac, config == "Corner"], [0.5, 0.8], 0.7)
    frontage = _whole(width_to_depth * np.sqrt(area) * np.exp(dice.normal(0.16)), 21, 320)

    is_industrial = house["Neighborhood"] == "IDOTRR"
    is_rezoned = dice.happens(np.where(is_industrial, 0.25, 0.07))
    rezoned = np.where(is_industrial, "C (all)", dice.choose({"RL": 70, "RM": 25, "RH": 9}))
    nearby = {"Norm": 86, "Feedr": 6, "Artery": (8, 3, 2, 2), "RRAn": 2, "PosN": 1.3, "RRAe": 0.8,
              "PosA": 0.6, "RRNn": 0.4, "RRNe": 0.2}  # fmt: skip
    near = dice.choose(nearby, era)
    shapes = {"Reg": (90, 65, 55, 48), "IR1": np.where(is_townhouse, 5, 36), "IR2": 3, "IR3": 0.7}
    also_near = dice.choose({"Norm": 93, "Feedr": 3, "Artery": 1.5, "PosA": 1, "PosN": 1, "RRNn": 0.5})
    return {
        "MSZoning": np.where(is_rezoned, rezoned, house["typical_zoning"]),
        "LotFrontage": np.where(dice.happens(np.where(is_cul_de_sac, 0.5, 0.16)), np.nan, frontage),
        "LotArea": _whole(area, 1300, 215000),
        "Street": dice.choose({"Pave": 99.6, "Grvl": 0.4}),
        "Alley": dice.choose({None: 100, "Grvl": (18, 0.8, 0.8, 0.8), "Pave": (10, 1.5, 1.5, 1.5)}, era),
        "LotShape": dice.choose(shapes, era),
        "LandContour": dice.choose({"Lvl": np.where(is_steep, 40, 92), "Bnk": 4, "HLS": 3.5, "Low": 2.5}),
        "Utilities": dice.choose({"AllPub": 99.9, "NoSeWa": 0.1}),
        "LotConfig": config,
        "LandSlope": slope,
        "Condition1": near,
        "Condition2": np.where(near == "Norm", "Norm", also_near),
    }


def _shell(dice: _Dice, house: Columns) -> Columns:
    era, age, year, is_townhouse = house["era"], house["age"], house["YearBuilt"], house["is_townhouse"]
    detached = dice.choose({"1Fam": 93, "Duplex": (1, 5, 5, 5), "2fmCon": (7, 0.8, 0.8, 0.8)}, era)
    building = np.where(is_townhouse, dice.choose({"TwnhsE": 7, "Twnhs": 3}), detached)
    styles = {
        "1Story": (28, 60, 50, 52), "2Story": (24, 8, 30, 45), "1.5Fin": (40, 16, 0, 0),
        "1.5Unf": (4, 0, 0, 0), "2.5Unf": (3, 0, 0, 0), "2.5Fin": (1.5, 0, 0, 0), "SLvl": (0, 5, 12, 0.5),
        "SFoyer": (0, 0.5, 6, 1.5),
    }  # fmt: skip
    style = dice.choose(styles, era)
    subclasses = {  # the first that applies
        90: building == "Duplex", 190: building == "2fmCon", 120: is_townhouse & (style == "1Story"),
        160: is_townhouse & (style == "2Story"), 180: is_townhouse, 30: (style == "1Story") & (era == 0),
        45: style == "1.5Unf", 50: style == "1.5Fin", 70: (style == "2Story") & (era == 0),
        60: style == "2Story", 75: np.isin(style, ["2.5Unf", "2.5Fin"]), 80: style == "SLvl",
        85: style == "SFoyer",
    }  # fmt: skip

    wear_and_care = np.where(age > 12, 0.6 + dice.normal(1.2), dice.normal(0.2))
    is_remodelled = dice.happens(np.select([age > 40, age > 12, age > 0], [0.65, 0.3, 0.45], 0.0))
    first_possible = np.maximum(year, 1950)  # the assessor writes 1950 for all that is older
    remodel_year = first_possible + (house["YrSold"] - first_possible) * np.sqrt(dice.uniform())
    return {
        "MSSubClass": np.select(list(subclasses.values()), list(subclasses), 20),
        "BldgType": building,
        "HouseStyle": style,
        "OverallQual": _whole(house["quality"], 1, 10),
        "OverallCond": _whole(5.1 + wear_and_care, 1, 9),
        "YearRemodAdd": np.where(is_remodelled, _whole(remodel_year, first_possible, 2010), first_possible),
    }


def _exterior(dice: _Dice, house: Columns) -> Columns:
    era, quality = house["era"], house["quality"]
    fancy = np.clip(quality - 5, 0, 4)
    coverings = {
        "VinylSd": (8, 8, 10, 68), "HdBoard": (2, 5, 35, 12), "MetalSd": (20, 25, 18, 6),
        "Wd Sdng": (25, 22, 14, 3), "CemntBd": (1, 1, 1, 6), "Plywood": (1, 10, 20, 2),
        "BrkFace": (6, 10, 4, 1), "Stucco": (8, 0.5, 0.5, 0.5), "WdShing": (6, 3, 1, 0.5),
        "AsbShng": (6, 2, 0, 0), "BrkComm": 0.2, "Stone": 0.1, "ImStucc": 0.1, "AsphShn": 0.05,
        "CBlock": 0.05,
    }  # fmt: skip
    covering = dice.choose(coverings, era)
    # Kaggle's Exterior1st and Exterior2nd spell three of the coverings differently.
    respelled = {"CemntBd": "CmentBd", "WdShing": "Wd Shng", "BrkComm": "Brk Cmn"}
    same_covering = np.array([respelled.get(name, name) for name in covering], dtype=object)
    second_coverings = {"Plywood": 35, "VinylSd": 15, "Wd Sdng": 15, "HdBoard": 12, "Wd Shng": 12,
                        "MetalSd": 6, "BrkFace": 4, "ImStucc": 2, "Stone": 1, "Other": 0.2}  # fmt: skip
    other_covering = dice.choose(second_coverings)
    veneers = {"None": 70, "BrkFace": 8 + 10 * fancy, "Stone": 5 * fancy * (era == 3), "BrkCmn": 0.8}
    veneer = dice.choose(veneers)
    veneer_area = _whole(180 * np.exp(0.15 * (fancy - 1) + dice.normal(0.65)), 14, 1600)
    roofs = {"Gable": 80, "Hip": 14 + 5 * fancy, "Gambrel": 0.8, "Flat": 0.8, "Mansard": 0.5, "Shed": 0.2}
    roof = dice.choose(roofs)
    roofing = dice.choose({"CompShg": 99, "WdShngl": 0.3, "WdShake": 0.3, "Metal": 0.05, "Membran": 0.05,
                           "Roll": 0.05, "ClyTile": 0.05})  # fmt: skip
    foundations = {"PConc": (10, 12, 25, 95), "CBlock": (25, 85, 72, 4), "BrkTil": (62, 0.5, 0, 0),
                   "Slab": (2.5, 2.5, 2.5, 0.5), "Stone": (1, 0, 0, 0), "Wood": 0.2}  # fmt: skip
    return {
        "RoofStyle": roof,
        "RoofMatl": np.where(roof == "Flat", "Tar&Grv", roofing),
        "Exterior1st": covering,
        "Exterior2nd": np.where(dice.happens(0.14), other_covering, same_covering),
        "MasVnrType": veneer,
        "MasVnrArea": np.where(veneer == "None", 0.0, veneer_area),
        "ExterQual": _grade(quality + 0.3 * (era == 3) + dice.normal(0.5)),
        "ExterCond": _grade(5.2 + 0.25 * (house["OverallCond"] - 5) + dice.normal(0.9)),
        "Foundation": dice.choose(foundations, era),
    }


def _floors(dice: _Dice, house: Columns) -> Columns:
    size_by_style = {"2Story": 0.16, "1Story": -0.1, "SFoyer": -0.2, "1.5Unf": -0.2, "2.5Fin": 0.3}
    upper_share_by_style = {"2Story": 0.5, "1.5Fin": 0.36, "2.5Fin": 0.58, "2.5Unf": 0.48}
    size = np.array([size_by_style.get(style, 0.02) for style in house["HouseStyle"]])
    upper_share = np.array([upper_share_by_style.get(style, 0.0) for style in house["HouseStyle"]])

    size = size + 0.12 * (house["quality"] - house["typical_quality"]) + dice.normal(0.17)
    area = house["typical_living"] * np.exp(size)
    upper = area * upper_share * (1 + dice.normal(0.08))
    first, second = _whole(area - upper, 334, 5000), _whole(upper, 0, 2200)
    low_quality = dice.area((house["age"] > 50) * 0.05, typical=250, spread=0.5)
    return {
        "1stFlrSF": first,
        "2ndFlrSF": second,
        "LowQualFinSF": low_quality,
        "GrLivArea": first + second + low_quality,
    }


def _basement(dice: _Dice, house: Columns) -> Columns:
    quality, era = house["quality"], house["era"]
    is_on_slab, is_duplex = house["Foundation"] == "Slab", house["BldgType"] == "Duplex"
    is_present = dice.happens(np.select([is_on_slab, is_duplex], [0.0, 0.9], 0.99))
    covered = np.where(dice.happens(0.5), 1.0, np.clip(0.93 + dice.normal(0.12), 0.3, 1.3))
    total = is_present * _whole(house["1stFlrSF"] * covered, 105, 6000)

    first_types = {"GLQ": (10, 10, 20, 46), "Unf": (50, 28, 18, 34), "ALQ": (12, 20, 26, 8),
                   "BLQ": (14, 18, 16, 3), "Rec": (10, 18, 16, 2), "LwQ": 5}  # fmt: skip
    first_type = dice.choose(first_types, era)
    first = (first_type != "Unf") * _whole(total * dice.uniform(0.25, 0.98), 0, total)
    has_second = (first > 0) & dice.happens(0.17)
    second = has_second * _whole((total - first) * dice.uniform(0.2, 1.0), 0, total - first)
    second_type = dice.choose({"Rec": 5, "LwQ": 4.5, "BLQ": 3, "ALQ": 2, "GLQ": 1.5})
    finished_share = (first + second) / np.maximum(total, 1)
    exposures = {"No": np.where(house["LandSlope"] == "Gtl", 68, 15), "Av": 16 + 3 * (quality > 7),
                 "Gd": 8 + 8 * (quality > 7), "Mn": 8}  # fmt: skip
    height = quality + np.take((-0.9, -0.3, 0.2, 0.9), era) + dice.normal(0.5)
    return {
        "BsmtQual": _where(is_present, _grade(height)),
        "BsmtCond": _where(is_present, _grade(5.2 + dice.normal(0.8))),
        "BsmtExposure": _where(is_present, dice.choose(exposures)),
        "BsmtFinType1": _where(is_present, first_type),
        "BsmtFinType2": _where(is_present, np.where(has_second, second_type, "Unf")),
        "BsmtFinSF1": first,
        "BsmtFinSF2": second,
        "BsmtUnfSF": total - first - second,
        "TotalBsmtSF": total,
        "BsmtFullBath": _whole(1.6 * finished_share - 0.35 + dice.normal(0.35), 0, 3),
        "BsmtHalfBath": 1 * dice.happens(0.09 * (finished_share > 0.2)),
    }


def _interior(dice: _Dice, house: Columns) -> Columns:
    area, quality, era, building = house["GrLivArea"], house["quality"], house["era"], house["BldgType"]
    log_area, has_upper, is_duplex = np.log(area / 1500), house["2ndFlrSF"] > 0, building == "Duplex"
    renovated = np.clip((house["YearRemodAdd"] - 1985) / 25, -1, 1)

    baths = 1.45 + log_area + np.take((-0.15, -0.15, 0.1, 0.4), era) + 0.3 * is_duplex
    bedrooms = 2.75 + 1.1 * log_area + 0.35 * has_upper + is_duplex - 0.6 * house["is_townhouse"]
    bedrooms = _whole(bedrooms + dice.normal(0.55), 0, 8)
    kitchens = 1 + dice.happens(np.select([is_duplex, building == "2fmCon"], [0.95, 0.4], 0.003))
    rooms = _whole(bedrooms + kitchens + area / 580 + dice.normal(0.65), 3, 14)
    fireplaces = 0.52 + 0.7 * log_area + 0.22 * (quality - 6) - 0.5 * is_duplex
    fireplaces = _whole(fireplaces + dice.normal(0.55), 0, 3)
    heating = {"GasA": 98, "GasW": (5, 1, 0, 0), "Grav": (2, 0, 0, 0), "Wall": 0.2, "OthW": 0.1, "Floor": 0.1}
    wiring = {"SBrkr": 92, "FuseA": (20, 18, 3, 0), "FuseF": (7, 1, 0, 0), "FuseP": (1, 0, 0, 0), "Mix": 0.03}
    defects = {"Typ": 93, "Min1": 2, "Min2": 2.3, "Mod": 1, "Maj1": 0.9, "Maj2": 0.3, "Sev": 0.1}
    return {
        "Heating": dice.choose(heating, era),
        "HeatingQC": _grade(7.6 + 2.4 * renovated + dice.normal()),
        "CentralAir": dice.choose({"Y": 96, "N": (32, 6, 2, 0.2)}, era),
        "Electrical": dice.choose(wiring, era),
        "FullBath": _whole(baths + dice.normal(0.3), 1, 3),
        "HalfBath": 1 * dice.happens(np.where(has_upper, 0.68, 0.15)),
        "BedroomAbvGr": bedrooms,
        "KitchenAbvGr": kitchens,
        "KitchenQual": _grade(quality + 0.8 * renovated + dice.normal(0.6)),
        "TotRmsAbvGrd": np.maximum(rooms, bedrooms + kitchens),
        "Functional": dice.choose(defects),
        "Fireplaces": fireplaces,
        "FireplaceQu": _where(fireplaces > 0, _grade(2 + 0.65 * quality + dice.normal(1.1))),
    }


def _garage(dice: _Dice, house: Columns) -> Columns:
    era, quality, year = house["era"], house["quality"], house["YearBuilt"]
    kinds = {"Attchd": (12, 58, 80, 84), "Detchd": (80, 36, 14, 5), "CarPort": 0.6, "2Types": 0.3,
             "BuiltIn": 1 + 9 * (house["2ndFlrSF"] > 0), "Basment": 1.4}  # fmt: skip
    kind = dice.choose(kinds, era)
    is_detached = kind == "Detchd"
    is_duplex, log_area = house["BldgType"] == "Duplex", np.log(house["GrLivArea"] / 1500)
    is_present = dice.happens(np.where(is_duplex, 0.7, np.take((0.88, 0.95, 0.95, 0.995), era)))
    cars = 1.9 + 0.22 * (quality - 6) + 0.6 * log_area + np.take((-0.3, -0.2, 0, 0.2), era)
    cars = is_present * _whole(cars + dice.normal(0.33), 1, 4)
    area = is_present * _whole(70 + 215 * cars + 20 * (quality - 6) + dice.normal(55), 160, 1490)
    rebuilt = _whole(year + (house["YrSold"] - year) * dice.uniform(), 1895, 2010)
    garage_year = np.where(is_detached & dice.happens(0.55), rebuilt, np.maximum(year, 1895))
    finish = 0.45 * (quality - 6) + np.where(is_detached, -2.2, 0.2) + np.take((-0.6, -0.4, 0, 0.5), era)
    finish_step = np.digitize(finish + dice.normal(0.8), [-0.1, 0.9])
    return {
        "GarageType": _where(is_present, kind),
        "GarageYrBlt": np.where(is_present, garage_year, np.nan),
        "GarageFinish": _where(is_present, np.take(["Unf", "RFn", "Fin"], finish_step)),
        "GarageCars": cars,
        "GarageArea": area,
        "GarageQual": _where(is_present, _grade(5.3 - 0.6 * (era == 0) + dice.normal(0.7))),
        "GarageCond": _where(is_present, _grade(5.2 - 0.5 * (era == 0) + dice.normal(0.65))),
        "PavedDrive": dice.choose({"Y": 95, "N": (24, 2, 1, 0.5), "P": (6, 2, 1, 0.5)}, era),
    }


def _outdoors(dice: _Dice, house: Columns) -> Columns:
    era, is_fine = house["era"], house["quality"] > 6.5
    pool = dice.area(0.005 * ~house["is_townhouse"], typical=500, spread=0.35)
    misc = dice.choose({None: 96, "Shed": (3.5, 5, 5, 0.8), "Gar2": 0.2, "Othr": 0.15, "TenC": 0.03}, era)
    fences = {None: (75, 75, 75, 150), "MnPrv": 15, "GdPrv": 5, "GdWo": 5, "MnWw": 0.8}
    return {
        "WoodDeckSF": dice.area(np.take((0.25, 0.4, 0.5, 0.58), era), typical=175, spread=0.5),
        "OpenPorchSF": dice.area(np.take((0.4, 0.3, 0.4, 0.8), era), typical=60, spread=0.7),
        "EnclosedPorch": dice.area(np.take((0.45, 0.12, 0.06, 0.01), era), typical=140, spread=0.5),
        "3SsnPorch": dice.area(0.014, typical=190, spread=0.4),
        "ScreenPorch": dice.area(np.where(is_fine, 0.10, 0.07), typical=170, spread=0.4),
        "PoolArea": pool,
        "PoolQC": _where(pool > 0, dice.choose({"Ex": 1, "Gd": 1, "Fa": 1})),
        "Fence": dice.choose(fences, era),
        "MiscFeature": misc,
        "MiscVal": pd.notna(misc) * 50 * _whole(9 * np.exp(dice.normal(0.9)), 1, 300),
    }


def _sale(dice: _Dice, house: Columns) -> Columns:
    is_new = (house["age"] <= 1) & dice.happens(0.85)
    kinds = {"WD": 94, "COD": 3, "ConLD": 0.7, "ConLI": 0.4, "ConLw": 0.4, "CWD": 0.4, "Oth": 0.3, "Con": 0.2}
    kind = np.where(is_new, "New", dice.choose(kinds))
    conditions = {"Normal": 91, "Abnorml": np.where(kind == "COD", 120, 5), "Family": 1.5, "Alloca": 0.8,
                  "AdjLand": (0.7, 0.7, 0, 0)}  # fmt: skip
    condition = dice.choose(conditions, house["era"])
    return {
        "SaleType": kind,
        "SaleCondition": np.where(is_new & dice.happens(0.96), "Partial", condition),
    }


def _price(dice: _Dice, house: Columns) -> Columns:
    """Draw the price: hedonic, linear in logs but for a few interactions, with noise and some odd sales."""
    log_area, log_lot = np.log(house["GrLivArea"] / 1500), np.log(house["LotArea"] / 9500)
    quality, age = house["OverallQual"] - 6, house["age"]
    years_since_remodel = house["YrSold"] - house["YearRemodAdd"]
    log_price = (
        11.95
        + house["typical_level"]
        + 0.066 * quality
        + 0.005 * quality**2
        + (0.42 + 0.025 * quality) * log_area
        + 0.09 * np.clip(log_lot, -1.2, 2.0)
        - 0.002 * np.minimum(age, 80)
        - 0.0012 * np.minimum(years_since_remodel, 60)
        + 0.042 * (house["OverallCond"] - 5) * (age > 5)
        + 0.10 * house["TotalBsmtSF"] / 1000
        + 0.09 * (house["BsmtFinSF1"] + house["BsmtFinSF2"]) / 1000
        + 0.045 * (house["GarageCars"] - 1.75)
    )
    premiums = [
        (0.035, house["Fireplaces"] > 0), (0.025, house["FullBath"] > 1), (0.03, house["BsmtFullBath"] > 0),
        (0.06, house["KitchenQual"] == "Ex"), (-0.03, house["KitchenQual"] == "TA"),
        (0.055, house["BsmtExposure"] == "Gd"), (0.045, house["Exterior1st"] == "BrkFace"),
        (-0.05, np.isin(house["Condition1"], ["Artery", "Feedr", "RRAe"])),
        (0.04, house["Condition1"] == "PosN"), (-0.09, house["CentralAir"] == "N"),
        (-0.08, house["Functional"] != "Typ"), (-0.25, house["MSZoning"] == "C (all)"),
        (-0.07, house["is_townhouse"]), (-0.10, house["SaleCondition"] == "Abnorml"),
        (0.05, house["SaleCondition"] == "Partial"),
        (-0.025, house["YrSold"] >= 2009), (0.015, house["WoodDeckSF"] > 0), (0.07, house["ScreenPorch"] > 0),
    ]  # fmt: skip
    log_price = log_price + sum(premium * applies for premium, applies in premiums)

    is_odd = dice.happens(np.where(house["SaleCondition"] == "Normal", 0.006, 0.04))
    surprise = dice.normal(0.095) + is_odd * (dice.normal(0.3) - 0.3)
    return {"SalePrice": 500 * _whole(np.exp(log_price + surprise) / 500, 20, 2000)}


class _Dice:
    """Draws one value per house, for all houses at once, from one stream of random numbers."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def normal(self, standard_deviation: float = 1.0) -> Array:
        return standard_deviation * self.rng.standard_normal(N_ROWS)

    def uniform(self, low: float = 0.0, high: float = 1.0) -> Array:
        return self.rng.uniform(low, high, N_ROWS)

    def happens(self, share: float | Array) -> Array:
        return self.rng.random(N_ROWS) < share

    def choose(self, weights: Mapping[Any, Any], era: Array | None = None) -> Array:
        """Draw keys by weight: a number, an array with one per house, or a tuple with one for each era.

        The eras are before 1946, 1946-59, 1960-84 and since 1985. Weights need not sum to anything.
        """
        per_house = [np.array(w)[era] if isinstance(w, tuple) else w for w in weights.values()]
        upper_edges = np.cumsum([np.broadcast_to(w, N_ROWS) for w in per_house], axis=0)  # (keys, houses)
        chosen = (upper_edges <= self.rng.random(N_ROWS) * upper_edges[-1]).sum(axis=0)
        keys: Array = np.array(list(weights), dtype=object)
        return np.asarray(keys[chosen])

    def area(self, share: float | Array, typical: float, spread: float) -> Array:
        """Draw square feet: log-normal about `typical` for the given share of houses, 0 for the others."""
        size = _whole(typical * np.exp(self.normal(spread)), 10, 900)
        return np.where(self.happens(share), size, 0)


def _grade(score: Array) -> Array:
    """Name a score on the scale of `quality` (1..10) in the five grades of the data description."""
    grades = np.array(["Po", "Fa", "TA", "Gd", "Ex"], dtype=object)
    return np.take(grades, np.digitize(score, [1.8, 3.7, 6.4, 8.7]))


def _whole(values: Array, low: ArrayLike, high: ArrayLike) -> Array:
    return np.asarray(np.clip(np.rint(values), low, high).astype(np.int64))


def _where(is_present: Array, values: Array) -> Array:
    kept = values.astype(object)
    kept[~is_present] = None
    return kept


def _forget(dice: _Dice, table: pd.DataFrame, n_missing: Mapping[str, int]) -> None:
    """Blank so many known cells in place; columns named in one key lose them in the same rows."""
    for names, n_rows in n_missing.items():
        columns = names.split()
        known = np.flatnonzero(table[columns].notna().all(axis=1))
        is_forgotten = np.isin(np.arange(len(table)), dice.rng.choice(known, size=n_rows, replace=False))
        for column in columns:
            table[column] = table[column].mask(is_forgotten)


def write_tables(train: pd.DataFrame, test: pd.DataFrame, file: Path) -> None:
    """Write one table, test rows last. Whole numbers are stored as integers: every number here is one."""
    table = pd.concat([train, test], ignore_index=True)
    table = table.astype(dict.fromkeys(table.select_dtypes("number"), "Int64"))
    stored = pa.Table.from_pandas(table, preserve_index=False).replace_schema_metadata(None)
    pq.write_table(
        stored,
        file,
        compression="zstd",
        compression_level=19,
        use_dictionary=[name for name in COLUMNS if name != "Id"],
        column_encoding={"Id": "DELTA_BINARY_PACKED"},
        write_statistics=False,
        store_schema=False,
    )


if __name__ == "__main__":
    write_tables(*make_house_prices_tables(), FILE)
    print(f"{FILE}: {FILE.stat().st_size:,} bytes")
