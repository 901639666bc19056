//! The picture of cost and accuracy.

use plotters::coord::Shift;
use plotters::prelude::*;

use super::SIZE;
use super::picture::{self, Picture};
use crate::stages::Pareto;

const GREY: RGBColor = RGBColor(170, 170, 170);
const TEAL: RGBColor = RGBColor(0, 121, 140);
const ORANGE: RGBColor = RGBColor(209, 73, 0);

/// Every assignment by its cost and its accuracy after a short fine-tune: the frontier, the float network, the bound, the
/// search's choice, and what long fine-tunes made of some. None if there is nothing to draw.
#[must_use]
pub fn frontier(pareto: &Pareto) -> Option<Picture> {
    // Without points there are no axes.
    if pareto.points.is_empty() {
        return None;
    }
    Picture::draw(SIZE, |root| draw(pareto, root), |root| draw(pareto, root))
}

fn draw<DB: DrawingBackend>(pareto: &Pareto, root: &DrawingArea<DB, Shift>) -> picture::Drawn
where
    DB::ErrorType: 'static,
{
    let by_bits = pareto.cost == "mean-bits";
    let of_cost = |cost: f64| if by_bits { cost * 8.0 } else { cost };
    let axis = if by_bits { "mean bits".to_owned() } else { format!("{} (1 at 8 bits everywhere)", pareto.cost) };
    let points: Vec<(f64, f64)> =
        pareto.points.iter().map(|point| (of_cost(point.cost), point.accuracy * 100.0)).collect();
    let long: Vec<(f64, f64)> = pareto
        .tried
        .iter()
        .filter_map(|tried| {
            let point = pareto.points.iter().find(|point| point.bits == tried.bits)?;
            Some((of_cost(point.cost), tried.validation_accuracy? * 100.0))
        })
        .collect();
    let float = pareto.float_accuracy * 100.0;
    let costs = || points.iter().map(|point| point.0);
    let accuracies = || points.iter().chain(&long).map(|point| point.1).chain([float]);
    let (left, right) = (costs().fold(f64::INFINITY, f64::min), costs().fold(0.0, f64::max));
    let (low, high) = (accuracies().fold(f64::INFINITY, f64::min), accuracies().fold(0.0, f64::max));
    // Hopeless assignments would press all others against the upper edge.
    let low = low.max(float - 20.0);
    let (wide, tall) = ((right - left).max(0.1) * 0.04, (high - low).max(0.1) * 0.06);
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(root)
        .caption(format!("{} on {}", pareto.network, pareto.dataset), ("sans-serif", 22))
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(60)
        .build_cartesian_2d(left - wide..right + wide, low - tall..high + tall)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .bold_line_style(GREY.mix(0.4))
        .x_desc(axis)
        .y_desc("validation accuracy, %")
        .axis_desc_style(("sans-serif", 16))
        .label_style(("sans-serif", 14))
        .draw()?;
    let level = |accuracy: f64| [(left - wide, accuracy), (right + wide, accuracy)];
    let line = |colour: RGBColor| move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2));
    let dot = |colour: RGBColor| move |(x, y)| Circle::new((x + 9, y), 4, colour.filled());
    chart.draw_series(LineSeries::new(level(float), BLACK.stroke_width(2)))?.label("float").legend(line(BLACK));
    if let Some(points) = pareto.max_loss_points {
        chart
            .draw_series(LineSeries::new(level(float - points), GREY.stroke_width(2)))?
            .label(format!("bound of a short fine-tune ({points} points)"))
            .legend(line(GREY));
    }
    let seen = |point: &&(f64, f64)| point.1 >= low;
    chart
        .draw_series(points.iter().filter(seen).map(|&point| Circle::new(point, 2, GREY.filled())))?
        .label(if pareto.exhaustive { "every assignment" } else { "evaluated assignments" })
        .legend(dot(GREY));
    let frontier: Vec<(f64, f64)> =
        pareto.points.iter().zip(&points).filter(|(point, _)| point.frontier).map(|(_, &place)| place).collect();
    chart
        .draw_series(LineSeries::new(frontier.iter().filter(seen).copied(), TEAL.stroke_width(2)).point_size(3))?
        .label("frontier")
        .legend(line(TEAL));
    chart
        .draw_series(long.iter().filter(seen).map(|&point| TriangleMarker::new(point, 7, ORANGE.filled())))?
        .label("after a long fine-tune")
        .legend(|(x, y)| TriangleMarker::new((x + 9, y), 6, ORANGE.filled()));
    let chosen = pareto.points.iter().zip(&points).filter(|(point, _)| point.chosen).map(|(_, &place)| place);
    chart
        .draw_series(chosen.map(|point| Circle::new(point, 8, ORANGE.stroke_width(2))))?
        .label("the search's choice")
        .legend(|(x, y)| Circle::new((x + 9, y), 6, ORANGE.stroke_width(2)));
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.mix(0.9))
        .border_style(GREY)
        .label_font(("sans-serif", 14))
        .draw()?;
    root.present()?;
    Ok(())
}
