//! Line charts as inline SVG, drawn by hand: no script, no font, nothing from elsewhere. Colours
//! are variables of the page, so they follow its light or dark scheme; lines also differ in their
//! dashes. Each chart has a title and a description for those who do not see it.

use std::fmt::Write;

/// The size of a chart and of its margins, in the units of its view box.
const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 34.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 44.0;
/// Points of one line; more are merged, and the highest of each group is kept.
const POINTS_MAX: usize = 500;
/// Lines have this many different colours and dashes.
const STYLES: usize = 6;

/// How a value axis is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    /// From 0 in equal steps.
    Linear,
    /// In powers of ten.
    Logarithmic,
}

/// A line of a chart.
#[derive(Clone, Debug)]
pub(super) struct ChartLine {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
}

/// A chart with its axes.
#[derive(Clone, Debug)]
pub(super) struct Chart {
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    pub(super) description: String,
    pub(super) x_label: &'static str,
    pub(super) y_label: &'static str,
    pub(super) scale: Scale,
    pub(super) lines: Vec<ChartLine>,
    /// Ticks of the x axis with their texts; empty: equal steps from 0.
    pub(super) x_ticks: Vec<(f64, String)>,
    /// Moments that are marked by a vertical line.
    pub(super) marks: Vec<(f64, String)>,
}

/// Escapes a text for HTML and SVG.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The coordinates of values on the drawing.
struct Area {
    x_max: f64,
    y_min: f64,
    y_max: f64,
    scale: Scale,
}

impl Area {
    fn of(chart: &Chart) -> Self {
        let points = || chart.lines.iter().flat_map(|line| &line.points);
        let ticks = chart.x_ticks.iter().map(|(x, _)| *x);
        let x_max = points().map(|(x, _)| *x).chain(ticks).fold(1e-9, f64::max);
        let highest = points().map(|(_, y)| *y).fold(0.0, f64::max);
        let lowest = points().map(|(_, y)| *y).filter(|y| *y > 0.0).fold(f64::INFINITY, f64::min);
        let (y_min, y_max) = match chart.scale {
            Scale::Linear if highest > 0.0 => (0.0, nice_step(highest / 4.0) * 4.0),
            Scale::Linear => (0.0, 4.0),
            Scale::Logarithmic if lowest.is_finite() => {
                (10_f64.powf(lowest.log10().floor()), 10_f64.powf((highest * 1.0001).log10().ceil()))
            }
            Scale::Logarithmic => (0.1, 1.0),
        };
        Self { x_max, y_min, y_max, scale: chart.scale }
    }

    fn x(&self, x: f64) -> f64 {
        LEFT + x / self.x_max * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, y: f64) -> f64 {
        let share = match self.scale {
            Scale::Linear => y / self.y_max,
            Scale::Logarithmic => {
                (y.max(self.y_min) / self.y_min).log10() / (self.y_max / self.y_min).log10().max(1e-9)
            }
        };
        HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
    }

    fn y_ticks(&self) -> Vec<f64> {
        match self.scale {
            Scale::Linear => (0..=4).map(|n| self.y_max / 4.0 * f64::from(n)).collect(),
            Scale::Logarithmic => {
                // Few decades have room for ticks between their powers of ten.
                let steps: &[f64] = if self.y_max / self.y_min < 1_001.0 { &[1.0, 2.0, 5.0] } else { &[1.0] };
                let ticks = (0..).flat_map(|power| steps.iter().map(move |step| step * 10_f64.powi(power)));
                ticks.map(|tick| tick * self.y_min).take_while(|tick| *tick <= self.y_max * 1.001).collect()
            }
        }
    }
}

/// The smallest of 1, 2, 2.5 and 5 times a power of ten that is not below the value.
fn nice_step(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 2.5, 5.0, 10.0];
    steps.into_iter().map(|step| step * power).find(|step| *step >= value * 0.999_999).unwrap_or(10.0 * power)
}

/// A number without needless digits.
pub(super) fn short(value: f64) -> String {
    if value != 0.0 && value.abs() < 0.1 {
        return format!("{value:.3}");
    }
    if value.abs() < 100.0 {
        let text = format!("{value:.2}");
        return text.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    let digits = format!("{value:.0}");
    let groups: Vec<String> =
        digits.as_bytes().rchunks(3).rev().map(|group| String::from_utf8_lossy(group).into_owned()).collect();
    groups.join(",")
}

impl Chart {
    /// The chart as a `figure` with a legend.
    pub(super) fn figure(&self) -> String {
        let area = Area::of(self);
        let id = self.id;
        let mut svg = format!(
            "<figure><figcaption>{}</figcaption><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
             aria-labelledby=\"{id}-t {id}-d\"><title id=\"{id}-t\">{}</title><desc id=\"{id}-d\">{}</desc>",
            escape(self.title),
            escape(self.title),
            escape(&self.description)
        );
        self.axes(&mut svg, &area);
        for (x, text) in &self.marks {
            let at = area.x(*x);
            let _ = write!(
                svg,
                "<line class=\"mark\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{}\"><title>{}</title></line>",
                HEIGHT - BOTTOM,
                escape(text)
            );
        }
        for (n, line) in self.lines.iter().enumerate() {
            let points: Vec<String> =
                thinned(&line.points).iter().map(|(x, y)| format!("{:.1},{:.1}", area.x(*x), area.y(*y))).collect();
            let (style, name) = (n % STYLES, escape(&line.name));
            let _ = write!(
                svg,
                "<polyline class=\"line s{style}\" points=\"{}\"><title>{name}</title></polyline>",
                points.join(" ")
            );
        }
        svg.push_str("</svg><ul class=\"legend\">");
        for (n, line) in self.lines.iter().enumerate() {
            let _ = write!(
                svg,
                "<li><svg viewBox=\"0 0 34 8\" aria-hidden=\"true\"><line class=\"line s{}\" x1=\"0\" x2=\"34\" y1=\"4\" \
                 y2=\"4\"/></svg>{}</li>",
                n % STYLES,
                escape(&line.name)
            );
        }
        svg.push_str("</ul></figure>\n");
        svg
    }

    fn axes(&self, svg: &mut String, area: &Area) {
        for tick in area.y_ticks() {
            let y = area.y(tick);
            let _ = write!(
                svg,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text class=\"tick\" text-anchor=\"end\" x=\"{}\" y=\"{:.1}\">{}</text>",
                WIDTH - RIGHT,
                LEFT - 6.0,
                y + 4.0,
                short(tick)
            );
        }
        let step = nice_step(area.x_max / 8.0);
        let even = (0..).map(|n| f64::from(n) * step).take_while(|x| *x <= area.x_max).map(|x| (x, short(x)));
        let ticks = if self.x_ticks.is_empty() { even.collect() } else { self.x_ticks.clone() };
        for (x, text) in ticks {
            let at = area.x(x);
            let _ = write!(
                svg,
                "<line class=\"grid\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{}\"/>\
                 <text class=\"tick\" text-anchor=\"middle\" x=\"{at:.1}\" y=\"{}\">{}</text>",
                HEIGHT - BOTTOM,
                HEIGHT - BOTTOM + 16.0,
                escape(&text)
            );
        }
        let middle = f64::midpoint(TOP, HEIGHT - BOTTOM);
        let _ = write!(
            svg,
            "<text class=\"label\" text-anchor=\"middle\" x=\"{}\" y=\"{}\">{}</text>\
             <text class=\"label\" text-anchor=\"middle\" transform=\"rotate(-90)\" x=\"{}\" y=\"14\">{}</text>",
            f64::midpoint(LEFT, WIDTH - RIGHT),
            HEIGHT - 8.0,
            escape(self.x_label),
            -middle,
            escape(self.y_label)
        );
    }
}

/// At most [`POINTS_MAX`] points: the highest of each group, so that no peak is lost.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let group = points.len().div_ceil(POINTS_MAX).max(1);
    let highest = |group: &[(f64, f64)]| group.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1));
    points.chunks(group).filter_map(highest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(scale: Scale, points: Vec<(f64, f64)>) -> Chart {
        Chart {
            id: "c",
            title: "A <title>",
            description: "what it shows".into(),
            x_label: "s",
            y_label: "ms",
            scale,
            lines: vec![ChartLine { name: "p99".into(), points }],
            x_ticks: Vec::new(),
            marks: vec![(1.0, "kill & restart".into())],
        }
    }

    #[test]
    fn a_chart_names_itself_and_escapes_texts() {
        let svg = chart(Scale::Linear, vec![(0.0, 1.0), (2.0, 30.0)]).figure();
        for part in ["role=\"img\"", "A &lt;title&gt;", "kill &amp; restart", "<desc id=\"c-d\">what it shows</desc>"] {
            assert!(svg.contains(part), "{part}: {svg}");
        }
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }

    #[test]
    fn empty_and_extreme_charts_have_finite_places() {
        for scale in [Scale::Linear, Scale::Logarithmic] {
            for points in [vec![], vec![(0.0, 0.0)], vec![(0.0, 0.001), (1e6, 1e9)], vec![(1.0, 7.0); 10_000]] {
                let svg = chart(scale, points).figure();
                assert!(!svg.contains("NaN") && !svg.contains("inf") && svg.len() < 60_000, "{svg}");
            }
        }
    }

    #[test]
    fn thinning_keeps_the_highest_point() {
        let mut points: Vec<(f64, f64)> = (0..100_000).map(|n| (f64::from(n), 1.0)).collect();
        points[77_777].1 = 900.0;
        let thin = thinned(&points);
        assert!(thin.len() <= POINTS_MAX && thin.contains(&(77_777.0, 900.0)));
    }

    #[test]
    fn numbers_are_short() {
        for (value, text) in [(0.0, "0"), (0.004, "0.004"), (2.5, "2.5"), (25.0, "25"), (1_234_567.0, "1,234,567")] {
            assert_eq!(short(value), text);
        }
    }
}
