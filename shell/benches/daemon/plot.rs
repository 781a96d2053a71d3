//! The series of `--scale` as small charts in one SVG.

use std::fmt::Write as _;

use crate::scale::Series;

const WIDTH: f64 = 300.0;
const HEIGHT: f64 = 150.0;
const MARGIN: f64 = 56.0;
const CELL_WIDTH: f64 = WIDTH + 2.0 * MARGIN;
const CELL_HEIGHT: f64 = HEIGHT + 2.0 * MARGIN;
const COLUMNS: usize = 2;

/// Draws every series: what there is from left to right, by powers of ten where it is more than
/// one, and what it costs from zero up.
pub(crate) fn draw(series: &[Series]) -> String {
    let rows = series.len().div_ceil(COLUMNS);
    let (width, height) = (CELL_WIDTH * COLUMNS as f64, CELL_HEIGHT * rows as f64);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    for (index, series) in series.iter().enumerate() {
        let left = CELL_WIDTH * (index % COLUMNS) as f64 + MARGIN;
        let top = CELL_HEIGHT * (index / COLUMNS) as f64 + MARGIN;
        chart(&mut svg, series, left, top).unwrap_or_default();
    }
    svg + "</svg>\n"
}

fn chart(svg: &mut String, series: &Series, left: f64, top: f64) -> std::fmt::Result {
    let most = series.points.iter().map(|point| point.median());
    let most = most.fold(0.0, f64::max).max(f64::MIN_POSITIVE) * 1.1;
    let last = series.points.last().map_or(1, |point| point.at);
    // Zero has no place on a scale of powers.
    let by_powers = series.points.first().is_some_and(|point| point.at > 0);
    let across = |at: usize| {
        let share = if by_powers {
            (at as f64).log10() / (last as f64).log10()
        } else {
            at as f64 / last as f64
        };
        left + WIDTH * share
    };
    let up = |value: f64| top + HEIGHT * (1.0 - value / most);
    let bottom = top + HEIGHT;
    writeln!(
        svg,
        "<text x=\"{left}\" y=\"{:.1}\" font-weight=\"bold\">{}, {}</text>",
        top - 12.0,
        series.name,
        series.unit
    )?;
    writeln!(
        svg,
        "<path d=\"M{left} {top}V{bottom}H{:.1}\" fill=\"none\" stroke=\"#888\"/>",
        left + WIDTH
    )?;
    let mut line = String::new();
    for point in &series.points {
        let (x, y) = (across(point.at), up(point.median()));
        let step = if line.is_empty() { 'M' } else { 'L' };
        write!(line, "{step}{x:.1} {y:.1}")?;
        writeln!(
            svg,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"#1565c0\"/>"
        )?;
        writeln!(
            svg,
            "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{:.2}</text>",
            y - 7.0,
            point.median()
        )?;
        writeln!(
            svg,
            "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#555\">{}</text>",
            bottom + 15.0,
            point.at
        )?;
    }
    writeln!(svg, "<path d=\"{line}\" fill=\"none\" stroke=\"#1565c0\"/>")?;
    writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#555\">{}</text>",
        left + WIDTH / 2.0,
        bottom + 32.0,
        series.of
    )
}
