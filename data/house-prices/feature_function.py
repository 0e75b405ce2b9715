"""House Prices' own features: areas, ages, shares, grades and surroundings that its columns imply row by row."""

import numpy as np
import pandas as pd

QUALITY = {"Po": 1.0, "Fa": 2.0, "TA": 3.0, "Gd": 4.0, "Ex": 5.0}


def add_features(frame: pd.DataFrame) -> pd.DataFrame:
    """The typed feature frame with more columns; every new value depends on its own row alone."""

    def number(name: str) -> pd.Series:
        return frame[name].astype(float).fillna(0.0)

    def quality(name: str) -> pd.Series:
        return frame[name].map(QUALITY).astype(float).fillna(0.0)

    def among(name: str, *levels: str) -> pd.Series:
        return frame[name].isin(levels).astype(float)

    porches = ["OpenPorchSF", "EnclosedPorch", "3SsnPorch", "ScreenPorch", "WoodDeckSF"]
    graded = ["ExterQual", "KitchenQual", "BsmtQual", "HeatingQC", "FireplaceQu", "GarageQual"]
    living = number("GrLivArea")
    new = {
        "TotalArea": living + number("TotalBsmtSF"),
        "AllArea": living + number("TotalBsmtSF") + number("GarageArea"),
        "FinishedBasement": number("BsmtFinSF1") + number("BsmtFinSF2"),
        "PorchArea": sum((number(name) for name in porches), start=pd.Series(0.0, index=frame.index)),
        "Bathrooms": number("FullBath") + number("BsmtFullBath") + 0.5 * (number("HalfBath") + number("BsmtHalfBath")),
        "Age": (number("YrSold") - number("YearBuilt")).clip(lower=0.0),
        "SinceRemodel": (number("YrSold") - number("YearRemodAdd")).clip(lower=0.0),
        "GarageAge": (frame["YrSold"] - frame["GarageYrBlt"]).clip(lower=0.0),
        "IsNew": (number("YrSold") <= number("YearBuilt")).astype(float),
        "WasRemodeled": (number("YearRemodAdd") != number("YearBuilt")).astype(float),
        "HasBasement": (number("TotalBsmtSF") > 0).astype(float),
        "HasGarage": (number("GarageArea") > 0).astype(float),
        "HasSecondFloor": (number("2ndFlrSF") > 0).astype(float),
        "HasFireplace": (number("Fireplaces") > 0).astype(float),
        "QualitySum": sum((quality(name) for name in graded), start=number("OverallQual")),
        "QualityTimesCondition": number("OverallQual") * number("OverallCond"),
        "QualityTimesArea": number("OverallQual") * np.log1p(living + number("TotalBsmtSF")),
        "LogLotArea": np.log1p(number("LotArea")),
        "LogLivingArea": np.log1p(living),
        "LogTotalArea": np.log1p(living + number("TotalBsmtSF")),
        "FinishedArea": living + number("BsmtFinSF1") + number("BsmtFinSF2"),
        "GoodBasement": number("BsmtFinSF1") * among("BsmtFinType1", "GLQ", "ALQ"),
        "UnfinishedShare": number("BsmtUnfSF") / number("TotalBsmtSF").clip(lower=1.0),
        "FirstFloorShare": number("1stFlrSF") / living.clip(lower=1.0),
        "LivingPerLot": living / number("LotArea").clip(lower=1.0),
        "GarageGrade": number("GarageCars") * quality("GarageQual"),
        "KitchenGrade": quality("KitchenQual") * quality("ExterQual"),
        "NearNuisance": among("Condition1", "Artery", "Feedr", "RRNn", "RRAn", "RRNe", "RRAe"),
        "NearPark": among("Condition1", "PosN", "PosA"),
        "IsCommercial": among("MSZoning", "C (all)"),
        "IsAbnormal": among("SaleCondition", "Abnorml", "AdjLand", "Family"),
        "SoldAt": number("YrSold") + number("MoSold") / 12.0,
        "AreaPerRoom": living / number("TotRmsAbvGrd").clip(lower=1.0),
    }
    return pd.concat([frame, pd.DataFrame(new, index=frame.index)], axis=1)
