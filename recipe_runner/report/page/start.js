viewer.start();
sheet.start();
