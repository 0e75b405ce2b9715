"""Which ranks of a competition get a medal: Kaggle's rules, by the number of teams.

Knows the rules of https://www.kaggle.com/progression; knows no leaderboard.
"""

from __future__ import annotations


def medal_of(rank: int, n_teams: int) -> str:
    """Return the medal of a rank, "" for none."""
    return next((medal for medal, last in medal_ranks(n_teams).items() if rank <= last), "")


def medal_ranks(n_teams: int) -> dict[str, int]:
    """Return the last rank of each medal, best medal first; 0 if there are too few teams. Percentages round down."""
    if n_teams < 250:
        gold = n_teams * 10 // 100 if n_teams < 100 else 10
        return {"gold": gold, "silver": n_teams * 20 // 100, "bronze": n_teams * 40 // 100}
    gold = 10 + n_teams // 500  # 10, and 0.2 % of the teams
    if n_teams < 1000:
        return {"gold": gold, "silver": 50, "bronze": 100}
    return {"gold": gold, "silver": n_teams * 5 // 100, "bronze": n_teams * 10 // 100}
