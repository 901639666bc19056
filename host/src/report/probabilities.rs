//! The picture of the agent's convergence: how likely each action of each step was, over the episodes.

use plotters::coord::Shift;
use plotters::prelude::*;

use super::picture::{self, Picture};
use super::{Episodes, SIZE};

/// Colours of the actions, from the lowest bitwidth up.
const COLOURS: [RGBColor; 8] = [
    RGBColor(33, 102, 172),
    RGBColor(0, 121, 140),
    RGBColor(77, 146, 33),
    RGBColor(209, 140, 0),
    RGBColor(209, 73, 0),
    RGBColor(178, 24, 43),
    RGBColor(118, 42, 131),
    RGBColor(60, 60, 60),
];
/// Panels beside each other.
const COLUMNS: usize = 4;

/// One row an update, step and action. Empty without updates.
#[must_use]
pub fn probabilities_csv(episodes: &[Episodes]) -> String {
    if episodes.is_empty() {
        return String::new();
    }
    let mut text = "episodes,step,action,probability\n".to_owned();
    for update in episodes {
        for (step, actions) in update.probabilities.iter().enumerate() {
            for (action, probability) in actions.iter().enumerate() {
                text += &format!("{},{step},{action},{probability:.6}\n", update.done);
            }
        }
    }
    text
}

/// A panel a step, a line an action, under their names: the layers' and the bitwidths', where actions are flexible. Steps without a
/// name are numbered. None without updates.
#[must_use]
pub fn probabilities(episodes: &[Episodes], names: &[String], actions: &[String]) -> Option<Picture> {
    let steps = episodes.iter().map(|update| update.probabilities.len()).max()?;
    let size = (SIZE.0, 190 * rows_of(steps) as u32 + 30);
    Picture::draw(
        size,
        |root| draw(episodes, steps, names, actions, root),
        |root| draw(episodes, steps, names, actions, root),
    )
}

fn rows_of(steps: usize) -> usize {
    steps.div_ceil(COLUMNS).max(1)
}

fn draw<DB: DrawingBackend>(
    episodes: &[Episodes],
    steps: usize,
    names: &[String],
    actions: &[String],
    root: &DrawingArea<DB, Shift>,
) -> picture::Drawn
where
    DB::ErrorType: 'static,
{
    let rows = rows_of(steps);
    root.fill(&WHITE)?;
    let (title, rest) = root.split_vertically(30);
    title.draw(&Text::new("probability of each action over the episodes:", (12, 8), ("sans-serif", 15)))?;
    for (place, (action, colour)) in actions.iter().zip(COLOURS).enumerate() {
        let left = 330 + place as i32 * 64;
        title.draw(&PathElement::new([(left, 15), (left + 16, 15)], colour.stroke_width(3)))?;
        title.draw(&Text::new(action.clone(), (left + 21, 8), ("sans-serif", 15)))?;
    }
    for (step, area) in rest.split_evenly((rows, COLUMNS)).iter().enumerate().take(steps) {
        let name = names.get(step).cloned().unwrap_or_else(|| format!("step {}", step + 1));
        panel(area, episodes, step, &name)?;
    }
    root.present()?;
    Ok(())
}

fn panel<DB: DrawingBackend>(
    area: &DrawingArea<DB, Shift>,
    episodes: &[Episodes],
    step: usize,
    name: &str,
) -> picture::Drawn
where
    DB::ErrorType: 'static,
{
    let last = episodes.last().map_or(1, |update| update.done) as f64;
    let mut chart = ChartBuilder::on(area)
        .caption(name, ("sans-serif", 14))
        .margin(6)
        .x_label_area_size(22)
        .y_label_area_size(30)
        .build_cartesian_2d(0.0..last, 0.0..1.0)?;
    chart
        .configure_mesh()
        .disable_mesh()
        .x_labels(4)
        .y_labels(3)
        .x_label_formatter(&|done| format!("{done:.0}"))
        .label_style(("sans-serif", 11))
        .draw()?;
    let actions = episodes.iter().filter_map(|update| Some(update.probabilities.get(step)?.len())).max().unwrap_or(0);
    for action in 0..actions {
        let course = episodes.iter().filter_map(|update| {
            let probability = *update.probabilities.get(step)?.get(action)?;
            Some((update.done as f64, f64::from(probability)))
        });
        chart.draw_series(LineSeries::new(course, COLOURS[action % COLOURS.len()].stroke_width(2)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_has_its_panel_and_each_action_its_line() {
        assert!(probabilities(&[], &[], &[]).is_none() && probabilities_csv(&[]).is_empty());
        let update = |done| Episodes { done, probabilities: vec![vec![0.25, 0.75]; 5] };
        let episodes = [update(4), update(8)];
        let picture = probabilities(&episodes, &["conv1".to_owned()], &["1 bit".to_owned()]).unwrap();
        let svg = picture.svg;
        assert!(svg.contains("conv1") && svg.contains("1 bit") && !svg.contains("step 1"), "{svg}");
        assert!(svg.contains("step 5") && !svg.contains("step 6"), "{svg}");
        let png = image::load_from_memory(&picture.png).unwrap().to_rgb8();
        assert_eq!(png.dimensions(), (SIZE.0, 190 * 2 + 30));
        // Letters are there too: the title's line is not white.
        let title = (0..300).flat_map(|x| (5..25).map(move |y| (x, y)));
        let dark = title.filter(|&(x, y)| png.get_pixel(x, y).0.iter().all(|&value| value < 100)).count();
        assert!(dark > 100, "{dark} dark pixels in the title");
        assert_eq!(probabilities_csv(&episodes).lines().count(), 1 + 2 * 5 * 2);
    }
}
