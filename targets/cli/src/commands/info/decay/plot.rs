//! The horizons as a picture: an SVG with a bar for each layer.
//!
//! A thin line goes from the shortest to the longest half-life, a box from that which 10 % do not
//! exceed to that of 90 %, and a mark is at the median. The axis is logarithmic.

use std::io::Write;
use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use super::{Horizons, quantiles};
use crate::support::output::{self, Kind, Output};

const SIZE: (u32, u32) = (960, 540);
/// Half-lives beyond are drawn here: texts are not longer.
const LONGEST: f64 = 1e6;
const SHORTEST: f64 = 0.1;

pub(super) fn write(name: &str, horizons: &Horizons, path: &Path, force: bool) -> Result<()> {
    output::refuse_foreign(Kind::Svg, "--output", path, force)?;
    let mut svg = String::new();
    draw(name, horizons, &mut svg).map_err(|error| anyhow!("drawing the plot: {error}"))?;
    let mut file = Output::create(path)?;
    file.write_all(svg.as_bytes())?;
    Ok(file.finish()?)
}

fn draw(
    name: &str,
    horizons: &Horizons,
    svg: &mut String,
) -> Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let layers = horizons.layers.len() as f64;
    let title = format!("{name}: half-life by {}, {}", horizons.unit, horizons.source.shown());
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(70)
        .build_cartesian_2d(-0.7..layers - 0.3, (SHORTEST..LONGEST).log_scale())?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_desc("layer")
        .y_desc("tokens")
        .x_labels(horizons.layers.len().min(32))
        .x_label_formatter(&|layer| format!("{layer:.0}"))
        .y_label_formatter(&|life| {
            if *life < 1.0 { format!("{life}") } else { format!("{life:.0}") }
        })
        .draw()?;
    for (layer, lives) in horizons.layers.iter().enumerate() {
        let x = layer as f64;
        let [shortest, tenth, median, ninetieth, longest] =
            quantiles(lives).map(|life| life.clamp(SHORTEST, LONGEST));
        chart.draw_series([PathElement::new([(x, shortest), (x, longest)], BLACK)])?;
        let bar = [(x - 0.3, tenth), (x + 0.3, ninetieth)];
        chart.draw_series([Rectangle::new(bar, RGBColor(86, 140, 190).filled())])?;
        let mark = [(x - 0.3, median), (x + 0.3, median)];
        chart.draw_series([PathElement::new(mark, BLACK.stroke_width(2))])?;
    }
    area.present()?;
    Ok(())
}
