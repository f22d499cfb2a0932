// Hides what does not hold a word, and what agrees; without scripts the page shows everything.
const [word, bad] = document.querySelectorAll('.tools input');
word.closest('.tools').hidden = false;
function show() {
  const wanted = word.value.toLowerCase().split(/\s+/);
  for (const section of document.querySelectorAll('section')) {
    let left = 0;
    for (const row of section.querySelectorAll('tbody tr')) {
      const text = (section.dataset.names + ' ' + row.textContent).toLowerCase();
      row.hidden = !wanted.every((one) => text.includes(one))
        || (bad.checked && !row.querySelector('.differs, .unexplained, .other'));
      left += !row.hidden;
    }
    section.hidden = !left;
  }
}
word.addEventListener('input', show);
bad.addEventListener('input', show);
