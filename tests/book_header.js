/* The finder beside the header: filters chapters and functions as you type.  On a narrow
   screen the list starts closed, and closes when something was chosen. */
(function () {
  var find = document.getElementById("find"), side = document.querySelector("#side details");
  var az = document.querySelector("#side .az"), items = document.querySelectorAll("#side li");
  var narrow = window.matchMedia("(max-width: 60rem)");
  if (narrow.matches) side.open = false;
  find.hidden = false;
  find.addEventListener("input", function () {
    var words = find.value.toLowerCase().split(/\s+/), all = words.join("") === "";
    items.forEach(function (li) {
      var text = li.textContent.toLowerCase();
      var hit = words.every(function (w) { return text.indexOf(w) >= 0; });
      li.hidden = li.className === "part" ? !all : !hit;
    });
    az.open = !all;
  });
  find.addEventListener("keydown", function (e) {
    if (e.key !== "Enter") return;
    var first = document.querySelector("#side li:not([hidden]) a");
    if (first) first.click();
  });
  /* The chapter at the top of the window is marked in the list. */
  var now = null;
  function mark() {
    var chapters = document.querySelectorAll("article.header section[id]"), id = "manual";
    for (var i = 0; i < chapters.length && chapters[i].getBoundingClientRect().top < 120; i++) id = chapters[i].id;
    var a = document.querySelector('#side nav a[href="#' + id + '"]');
    if (a === now || !a) return;
    if (now) now.removeAttribute("aria-current");
    a.setAttribute("aria-current", "true");
    now = a;
    if (!narrow.matches) {
      var box = document.getElementById("side"), at = a.offsetTop - box.clientHeight / 3;
      if (a.offsetTop < box.scrollTop + 60 || a.offsetTop > box.scrollTop + box.clientHeight - 60) box.scrollTop = at;
    }
  }
  var waiting = false;
  addEventListener("scroll", function () {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(function () { waiting = false; mark(); });
  }, { passive: true });
  mark();
  side.addEventListener("click", function (e) {
    if (e.target.closest("li a") && narrow.matches) side.open = false;
  });
})();
