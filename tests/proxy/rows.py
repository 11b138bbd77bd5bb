"""Looks at the pool's rows that several tests take."""

from proxy.models import PoolState, Provider, Rest


def generation() -> int:
    return PoolState.objects.get(id=1).generation


def reasons(provider: Provider) -> list[str]:
    """Why a provider or keys of it rest."""
    return sorted(Rest.objects.filter(provider=provider).values_list("reason", flat=True))
