"""Kaggle's display names of evaluation metrics -> the metrics of the table that they may mean.

Knows names only. A name of Kaggle's does not always tell the formula: "Log Loss" scores one column or one per class.
"""

from __future__ import annotations

import re

F1 = ("f1", "f1_macro", "f1_micro", "f1_weighted")
MEANINGS: dict[str, tuple[str, ...]] = {  # letters and digits of the name -> metrics, the usual one first
    "rootmeansquarederror": ("rmse",),
    "rootmeansquareerror": ("rmse",),
    "rmse": ("rmse",),
    "mcrmse": ("rmse",),
    "meansquarederror": ("mse",),
    "mse": ("mse",),
    "rootmeansquaredlogarithmicerror": ("rmsle", "log_rmse"),
    "rootmeansquaredlogerror": ("rmsle", "log_rmse"),
    "rmsle": ("rmsle", "log_rmse"),
    "mcrmsle": ("rmsle",),
    "meansquaredlogerror": ("msle",),
    "meansquaredlogarithmicerror": ("msle",),
    "msle": ("msle",),
    "meanabsoluteerror": ("mae",),
    "mae": ("mae",),
    "weightedmeanabsoluteerror": ("wmae", "mae"),
    "wmae": ("wmae", "mae"),
    "medianabsoluteerror": ("median_ae",),
    "meanabsolutepercentageerror": ("mape",),
    "mape": ("mape",),
    "symmetricmeanabsolutepercentageerror": ("smape",),
    "symmetricmeanabsolutepercenterror": ("smape",),
    "smape": ("smape",),
    "rootmeansquaredpercentageerror": ("rmspe",),
    "rootmeansquarepercentageerror": ("rmspe",),
    "rmspe": ("rmspe",),
    "r2": ("r2",),
    "rsquared": ("r2",),
    "coefficientofdetermination": ("r2",),
    "pearsoncorrelation": ("pearson",),
    "pearsoncorrelationcoefficient": ("pearson",),
    "spearmancorrelation": ("spearman",),
    "spearmansrankcorrelation": ("spearman",),
    "normalizedginiindex": ("gini",),
    "normalizedginicoefficient": ("gini",),
    "normalizedgini": ("gini",),
    "gini": ("gini", "roc_auc"),
    "concordanceindex": ("concordance",),
    "areaunderreceiveroperatingcharacteristiccurve": ("roc_auc",),
    "areaunderthereceiveroperatingcharacteristiccurve": ("roc_auc",),
    "areaundercurve": ("roc_auc",),
    "rocauc": ("roc_auc",),
    "auc": ("roc_auc",),
    "auroc": ("roc_auc",),
    "mcauc": ("roc_auc",),
    "averageprecision": ("average_precision",),
    "logloss": ("log_loss",),
    "multiclassloss": ("log_loss",),
    "multiclasslogloss": ("log_loss",),
    "mclogloss": ("log_loss",),
    "balancedlogloss": ("balanced_log_loss",),
    "brier": ("brier", "mse"),
    "categorizationaccuracy": ("accuracy",),
    "accuracy": ("accuracy",),
    "multiclassaccuracy": ("accuracy",),
    "balancedaccuracy": ("balanced_accuracy",),
    "quadraticweightedkappa": ("quadratic_kappa",),
    "qwk": ("quadratic_kappa",),
    "cohenkappa": ("kappa",),
    "cohenskappa": ("kappa",),
    "matthewscorrelationcoefficient": ("mcc",),
    "mcc": ("mcc",),
    "f1": F1,
    "f": F1,
    "meanf1": ("f1_micro", *F1),
    "meanf": F1,
    "f1binary": ("f1",),
    "f1macro": ("f1_macro",),
    "macrof1": ("f1_macro",),
    "macrof": ("f1_macro",),
    "fmacro": ("f1_macro",),
    "f1micro": ("f1_micro",),
    "microf1": ("f1_micro",),
    "fmicro": ("f1_micro",),
    "f1weighted": ("f1_weighted",),
    "weightedf1": ("f1_weighted",),
    "amexmetric": ("amex",),
}
RANKED = {"map": "map_at_{}", "meanaverageprecision": "map_at_{}", "ndcg": "ndcg_at_{}"}


def metrics_of_kaggle(name: str) -> tuple[str, ...]:
    """The metrics that Kaggle's name may mean, the usual one first; () if the name is unknown.

    `map_at_K` stands for all members of a family whose number the name does not tell.

    >>> metrics_of_kaggle("Mean Columnwise Root Mean Squared Error"), metrics_of_kaggle("MAP@3")
    (('rmse',), ('map_at_3',))
    """
    text = re.sub(r"(?i)\bmean[ -]?col(umn)?[ -]?wise\b|\bmulti[ -]class(?= acc)|\bscores?\b", "", name)
    ranked = re.fullmatch(r"([a-z]+)@([0-9]+|[{]?k[}]?)", re.sub(r"[\s-]", "", text.lower()))
    if ranked and ranked[1] in RANKED:
        return (RANKED[ranked[1]].format(ranked[2] if ranked[2].isdigit() else "K"),)
    for one in (text, re.sub(r"\([^)]*\)", "", text), *re.findall(r"\(([^)]*)\)", text)):
        found = MEANINGS.get(re.sub(r"[^a-z0-9]", "", one.lower()).removesuffix("old"))
        if found:
            return found
    return ()


def contradicts(metric: str, kaggle_name: str) -> bool:
    """Whether Kaggle's name is known and does not mean `metric`."""
    possible = metrics_of_kaggle(kaggle_name)
    return bool(possible) and not any(
        metric == one or (one.endswith("_K") and metric.startswith(one[:-1])) for one in possible
    )
