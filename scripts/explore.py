"""Open the explorer: plans and faces on a local page, computed while a slider moves.

Example:
    mergelab explore
"""

from explorer.config import ExploreConfig
from scripts.cli import main


def run(config: ExploreConfig) -> None:
    """Serve the page until Ctrl-C."""
    try:
        import bokeh  # noqa: F401
    except ImportError as error:
        raise ValueError(
            "the explorer needs Bokeh: python -m pip install 'mergelab[explorer]'"
        ) from error
    from explorer.explore import explore

    explore(config)


if __name__ == "__main__":
    main(ExploreConfig, run, __doc__)
