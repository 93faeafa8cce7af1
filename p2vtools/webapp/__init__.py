"""The page on which a visitor goes from photos to the measures of a foot: `p2v app` serves it as a web app."""

from p2vtools.webapp.page import Page
