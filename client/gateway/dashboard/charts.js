/**
 * Live charts. Chart.js is a classic script of 200 kB, which sets `window.Chart`; it is loaded when
 * a chart is first shown. What the charts show is remembered here, bounded, so that it is still
 * there when one comes back to the overview.
 */
import {h, setText} from './dom.js';
import {clock} from './format.js';
import {History, sampleOf} from './stats.js';

/** Five minutes of a figure a second. */
const KEPT_SAMPLES = 300;
export const history = new History(KEPT_SAMPLES);
export const remember = (stats) => history.add(sampleOf(stats));

let loading = null;
function chartLibrary() {
  loading ??= new Promise((resolve, reject) => {
    const script = h('script', {src: new URL('./chart.js', import.meta.url).href});
    script.addEventListener('load', () => resolve(window.Chart));
    script.addEventListener('error', () => {
      loading = null;
      reject(new Error('ui/chart.js cannot be loaded'));
    });
    document.head.append(script);
  });
  return loading;
}

/** A new page begins with a minute: the whole span would show it as a sliver at the right. */
const MIN_SPAN_MS = 60_000;
const SPAN_STEP_MS = 30_000;
const TICKS = 6;

const axisText = (ms) =>
  ms > -500
    ? 'now'
    : `−${ms > -90_000 ? `${Math.round(-ms / 1000)} s` : `${trimmed(-ms / 60_000)} m`}`;
const trimmed = (n) => n.toFixed(1).replace(/\.0$/, '');

const css = (variable) =>
  getComputedStyle(document.documentElement).getPropertyValue(variable).trim();

function options({format, stacked, least}) {
  const grid = css('--line');
  const text = css('--muted');
  const font = {family: css('--sans'), size: 11};
  return {
    animation: false,
    responsive: true,
    maintainAspectRatio: false,
    normalized: true,
    parsing: false,
    interaction: {mode: 'index', intersect: false},
    elements: {
      point: {radius: 0, hitRadius: 6},
      line: {borderWidth: 1.8, tension: 0.25, borderJoinStyle: 'round'},
    },
    plugins: {
      legend: {display: false},
      tooltip: {
        displayColors: true,
        boxPadding: 4,
        callbacks: {
          title: (items) =>
            items.length ? clock(new Date(items[0].parsed.x).toISOString()).slice(11, 19) : '',
          label: (item) => `${item.dataset.label}: ${format(item.parsed.y)}`,
        },
      },
    },
    scales: {
      x: {
        type: 'linear',
        grid: {display: false, borderColor: grid},
        ticks: {
          color: text,
          font,
          maxRotation: 0,
          autoSkipPadding: 24,
          count: TICKS,
          callback(at) {
            return axisText(at - this.max);
          },
        },
      },
      y: {
        beginAtZero: true,
        stacked,
        suggestedMax: least,
        border: {display: false},
        grid: {color: grid, borderColor: 'transparent'},
        ticks: {color: text, font, maxTicksLimit: 5, callback: (value) => format(value)},
      },
    },
  };
}

/**
 * A chart of lines over the last minutes. The legend is a list of texts with the present values,
 * since a canvas tells nothing to those who do not see it.
 *
 * @param {{title: string, series: Array<{label: string, color: string}>, format: (n: number) =>
 *     string, stacked?: boolean,
 *     least?: number, signal: AbortSignal, controls?: Node}} what  color: name of a CSS variable; least: the axis reaches at least so far
 * @returns {{element: Element, update: (points: Array<Array<{x, y}>>, labels?: string[]) => void}}
 *     points by series; y null: a gap
 */
export function lineChart({title, series, format, stacked = false, least = 1, signal, controls}) {
  const canvas = h('canvas', {role: 'img', 'aria-label': title});
  const values = series.map(() => h('dd', {}, '–'));
  const names = series.map((one) => h('span', {}, one.label));
  const entries = series.map((one, i) =>
    h(
      'div',
      {},
      h(
        'dt',
        {},
        h('span', {
          class: 'swatch',
          'aria-hidden': 'true',
          style: {background: `var(${one.color})`},
        }),
        names[i],
      ),
      values[i],
    ),
  );
  const element = h(
    'section',
    {class: 'card chart', 'aria-label': title},
    h('div', {class: 'card-head'}, h('h2', {}, title), controls),
    h('dl', {class: 'legend'}, entries),
    h('div', {class: 'chart-area'}, canvas),
  );
  let chart = null;
  let latest = null;
  let shownLabels = series.map((one) => one.label);

  const datasets = () =>
    series.map((one, i) => ({
      label: shownLabels[i],
      data: [],
      borderColor: css(one.color),
      backgroundColor: stacked ? `${css(one.color)}33` : css(one.color),
      fill: stacked ? (i === 0 ? 'origin' : '-1') : false,
      spanGaps: false,
    }));
  const draw = () => {
    if (!chart || !latest || document.hidden) return;
    const end = latest[0]?.at(-1)?.x ?? Date.now();
    const span = Math.ceil((end - (latest[0]?.[0]?.x ?? end)) / SPAN_STEP_MS) * SPAN_STEP_MS;
    chart.options.scales.x.min = end - Math.min(KEPT_SAMPLES * 1000, Math.max(MIN_SPAN_MS, span));
    chart.options.scales.x.max = end;
    latest.forEach((points, i) => {
      chart.data.datasets[i].data = points;
    });
    chart.update('none');
  };
  const make = (Chart) => {
    if (signal.aborted) return;
    chart?.destroy();
    chart = new Chart(canvas, {
      type: 'line',
      data: {datasets: datasets()},
      options: options({format, stacked, least}),
    });
    draw();
  };
  const start = () =>
    chartLibrary().then(make, (error) =>
      canvas.replaceWith(h('p', {class: 'muted'}, error.message)),
    );
  start();
  addEventListener('themechange', start, {signal});
  signal.addEventListener('abort', () => chart?.destroy());

  return {
    element,
    /** `labels`: other names for the series; without one a series is not in the legend. */
    update(points, labels = series.map((one) => one.label)) {
      latest = points;
      shownLabels = labels;
      labels.forEach((label, i) => {
        entries[i].hidden = !label;
        setText(names[i], label);
        if (chart) chart.data.datasets[i].label = label;
      });
      points.forEach((line, i) => {
        const last = line.at(-1)?.y;
        setText(values[i], last === null || last === undefined ? '–' : format(last));
      });
      draw();
    },
  };
}
