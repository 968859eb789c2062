#!/usr/bin/python3
"""The pure modules of the dashboard, run in the browser that they are written for: texts, bytes, figures, addresses, elements."""

import json
import unittest

from cluster_browser import Browser, Site


class Modules(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.site = cls.enterClassContext(Site(worker=()))
        cls.browser = cls.enterClassContext(Browser(cls.site))

    def run_in(self, module, expression):
        """The value of a JavaScript expression in which the names of that module are known as `m`; an error is its message."""
        script = """const [module, expression, done] = arguments;
            import(`/ui/${module}`).then((m) => {
              try { done({value: EVALUATE(m)}); } catch (error) { done({error: error.message}); }
            }, (error) => done({error: String(error)}));""".replace("EVALUATE(m)", f"({expression})")
        answer = self.browser.driver.execute_async_script(script, module, expression)
        return answer["value"] if "value" in answer else f"error: {answer['error']}"

    def check(self, module, cases):
        for expression, expected in cases.items():
            with self.subTest(expression=expression):
                self.assertEqual(expected, self.run_in(module, expression))

    def test_texts_of_numbers_and_times(self):
        self.check(
            "format.js",
            {
                "m.duration(0)": "0 ms",
                "m.duration(0.25)": "250 µs",
                "m.duration(9.94)": "9.9 ms",
                "m.duration(999)": "999 ms",
                "m.duration(1000)": "1 s",
                "m.duration(59949)": "59.9 s",
                "m.duration(59999)": "1 m",
                "m.duration(245000)": "4 m 05 s",
                "m.duration(7800000)": "2 h 10 m",
                "m.duration(90000000)": "1 d 01 h",
                "m.duration(-1500)": "-1.5 s",
                "m.duration(NaN)": "–",
                "m.span('2026-11-22T10:00:00.000Z', '2026-11-22T10:00:00.000Z')": "< 1 ms",
                "m.span('2026-11-22T10:00:00Z', '2026-11-22T10:01:30Z')": "1 m 30 s",
                "m.ago('2026-11-22T10:00:00Z', Date.parse('2026-11-22T10:00:05Z'))": "5 s ago",
                "m.ago('2026-11-22T13:57:10Z', Date.parse('2026-11-22T10:00:00Z'))": "in 3 h 57 m",
                "m.ago('2026-11-22T10:00:00Z', Date.parse('2026-11-22T10:00:00.5Z'))": "just now",
                "m.ago(null)": "–",
                "m.ago('<b>')": "–",
                "m.count(1234567)": "1,234,567",
                "m.count(undefined)": "–",
                "m.compact(999)": "999",
                "m.compact(1234)": "1.2k",
                "m.compact(34567)": "35k",
                "m.compact(5600000)": "5.6M",
                "m.compact(0.5)": "0.5",
                "m.bytes(1023)": "1023 B",
                "m.bytes(1536)": "1.5 KiB",
                "m.bytes(3 * 2 ** 30)": "3 GiB",
                "m.plural(1, 'task')": "1 task",
                "m.plural(0, 'task')": "0 tasks",
            },
        )

    def test_rates_and_durations_are_read_as_they_are_written(self):
        self.check(
            "format.js",
            {
                "m.rate(5)": "5/s",
                "m.rate(100 / 60)": "1.7/s",
                "m.rate(0.5)": "30/m",
                "m.rate(2 / 3600)": "2/h",
                "m.rate(1 / 86400)": "1/d",
                "m.parseRate('5/s')": 5,
                "m.parseRate(' 120 / m ')": 2,
                "m.parseRate('0.5')": 0.5,
                "m.parseRate('')": None,
                "Number.isNaN(m.parseRate('often'))": True,
                "Number.isNaN(m.parseRate('5/w'))": True,
                "m.parseDuration('90s')": 90_000,
                "m.parseDuration('1h30m')": 5_400_000,
                "m.parseDuration('1500')": 1500,
                "m.parseDuration('250ms')": 250,
                "m.parseDuration('')": None,
                "Number.isNaN(m.parseDuration('soon'))": True,
                "Number.isNaN(m.parseDuration('5'+'x'))": True,
                "[0, 1, 250, 90000, 5400000, 86400001].every((ms) => m.parseDuration(m.durationText(ms)) === ms)": True,
                "m.durationText(null)": "",
                "m.parseLabels('a=b, c=d=e\\n f = g ')": {"a": "b", "c": "d=e", "f": "g"},
                "m.parseLabels('')": {},
                "m.parseLabels('=b')": "error: “=b” is no label: write key=value",
            },
        )

    def test_bytes(self):
        self.check(
            "bytes.js",
            {
                "m.views(null)": [],
                "m.views('')": [],
                "m.views('plain')": [{"name": "Text", "text": "plain"}],
                "m.views('{\"a\":[1]}').map((one) => one.name)": ["JSON", "Text"],
                "m.views('{\"a\":[1]}')[0].text": '{\n  "a": [\n    1\n  ]\n}',
                "m.views('{broken')": [{"name": "Text", "text": "{broken"}],
                "m.views({base64: 'AP/+'}).map((one) => one.name)": ["Hex", "Base64"],
                "m.views({base64: 'AP/+'})[0].text": "000000  00 ff fe                                         ...",
                "m.hexDump(new Uint8Array(40)).split('\\n').length": 3,
                "m.hexDump(new Uint8Array(40), 20).split('\\n').length": 2,
                "m.bytesOf({base64: '!'}).length": 0,
                "m.bytesOf('ä').length": 2,
                "m.visible('a\\u202eb\\u0007\\n\\tc')": "a\\u202eb\\u0007\n\tc",
                # What is too long to be shown is not put into order either.
                "m.views('[' + '1,'.repeat(200000) + '1]').length": 1,
            },
        )

    def test_figures(self):
        stats = {
            "node": "a",
            "role": "active_solo",
            "epoch": 4,
            "uptime_ms": 1000,
            "workers": 1,
            "brokers": [],
            "counters": {"tasks_submitted_total": 10, "schedule_ticks_fired_total": 0},
            "queues": [{"name": "q", "counts": {"ready": 2, "leased": 1}}, {"name": "r", "counts": {"ready": 3}}],
            "histograms": {"wait": {"bounds_us": [1000, 2000], "counts": [1, 1, 1], "sum_us": 9}},
        }
        later = json.loads(json.dumps(stats)) | {"uptime_ms": 3000}
        later["counters"]["tasks_submitted_total"] = 30
        later["histograms"]["wait"]["counts"] = [1, 11, 1]
        two = f"{{at: 0, stats: {json.dumps(stats)}}}, {{at: 2000, stats: {json.dumps(later)}}}"
        restarted = (
            f"{{at: 0, stats: {json.dumps(stats)}}}, {{at: 2000, stats: {json.dumps(later | {'uptime_ms': 10})}}}"
        )
        other = f"{{at: 0, stats: {json.dumps(stats)}}}, {{at: 2000, stats: {json.dumps(later | {'node': 'b', 'epoch': 5})}}}"
        self.check(
            "stats.js",
            {
                f"m.totals({json.dumps(stats)}).ready": 5,
                "m.totals(null).ready": 0,
                f"m.ratePerSecond({two}, 'tasks_submitted_total')": 10,
                f"m.ratePerSecond({two}, 'no_such_counter')": None,
                f"m.ratePerSecond({restarted}, 'tasks_submitted_total')": None,
                f"m.ratePerSecond({other}, 'tasks_submitted_total')": None,
                "m.ratePerSecond(null, null, 'x')": None,
                f"m.observed({two}, 'wait')": {"bounds_us": [1000, 2000], "counts": [0, 10, 0]},
                f"m.observed({two}, 'none')": None,
                f"m.observed({other}, 'wait')": None,
                "m.quantileMs({bounds_us: [1000, 2000], counts: [0, 10, 0]}, 0.5)": 1.5,
                "m.quantileMs({bounds_us: [1000, 2000], counts: [0, 0, 4]}, 0.99)": 2,
                "m.quantileMs({bounds_us: [1000, 2000], counts: [4, 0, 0]}, 0.5)": 0.5,
                "m.quantileMs({bounds_us: [1000], counts: [0, 0]}, 0.5)": None,
                "m.quantileMs(null, 0.5)": None,
                f"m.differences({json.dumps(stats)}, {json.dumps(later)})": ["tasks", "queues"],
                f"m.differences(null, {json.dumps(stats)}).length": 5,
                f"m.differences({json.dumps(stats)}, {json.dumps(stats | {'role': 'active_sync'})})": ["cluster"],
                f"m.isServed({json.dumps(stats)})": True,
                "m.isServed({role: 'recovering', brokers: [{role: 'standby'}]})": False,
                "m.isServed({role: 'standby', brokers: [{role: 'active_sync'}]})": True,
                "m.topicsOf('worker_gone')": ["workers", "tasks"],
                "m.topicsOf('something_new')": ["tasks", "queues"],
                "m.topicsOf('skipped').length": 5,
                "(() => { const h = new m.History(3); for (let i = 0; i < 9; ++i) h.add({}, i); return h.samples.map((one) => one.at); })()": [
                    6,
                    7,
                    8,
                ],
            },
        )

    def test_addresses(self):
        self.check(
            "router.js",
            {
                "m.link('tasks', {state: 'dead', queue: 'a&b=c/d', type: ''})": "#/tasks?state=dead&queue=a%26b%3Dc%2Fd",
                "m.link('')": "#/",
                "m.taskLink('4-17')": "#/tasks/4-17",
                "m.parseHash('#/tasks/4-17').rest": "4-17",
                "m.parseHash('#/tasks?queue=a%26b%3Dc%2Fd').query.get('queue')": "a&b=c/d",
                "m.parseHash('').page": "",
                "m.parseHash('#/tasks?label=a=b?c').query.get('label')": "a=b?c",
                "m.parseHash('#/tasks/%E0%A4%A').rest": "%E0%A4%A",
            },
        )

    def test_elements_take_no_markup_and_no_script(self):
        self.check(
            "dom.js",
            {
                "(() => { const p = m.h('p', {title: '<b>'}, '<img src=x>', ['a', null, false, 0]); return [p.title, p.textContent, p.children.length]; })()": [
                    "<b>",
                    "<img src=x>a0",
                    0,
                ],
                "m.h('a', {href: 'javascript:alert(1)'})": "error: not an address of this page: javascript:alert(1)",
                "m.h('a', {href: '//evil.example/'})": "error: not an address of this page: //evil.example/",
                "m.h('a', {href: ' javascript:alert(1)'})": "error: not an address of this page:  javascript:alert(1)",
                "m.h('a', {onclick: 'alert(1)'})": "error: h() does not set onclick",
                "m.h('p', {innerHTML: '<b>'})": "error: h() does not set innerHTML",
                "m.h('select', {value: 'b'}, m.h('option', {value: 'a'}), m.h('option', {value: 'b'})).value": "b",
            },
        )

    def test_a_list_touches_only_what_changed(self):
        changes = """(() => {
          const list = document.createElement('ul');
          const show = (...items) => m.syncList(list, items, (one) => one.id, (one) => m.h('li', {}, one.text));
          show({id: 'a', text: '1'}, {id: 'b', text: '2'}, {id: 'c', text: '3'});
          const [a, b, c] = list.children;
          show({id: 'c', text: '3'}, {id: 'a', text: '1'}, {id: 'b', text: 'new'}, {id: 'a', text: 'again'});
          const [first, second, third] = list.children;
          const moved = [first === c, second === a, third === b, third.textContent, list.children.length];
          show({id: 'd', text: '4'}, {id: 'b', text: 'new'});
          return [...moved, list.textContent, list.lastChild === third];
        })()"""
        self.check("dom.js", {changes: [True, True, False, "new", 3, "4new", True]})


if __name__ == "__main__":
    unittest.main()
